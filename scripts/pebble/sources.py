"""The books behind the general-English sets, with titles and authors as the card names them.

Keys are a category folder and the beginning of a file name in the corpus. All were published
before 1930 by authors (and translators) who died before 1955.
"""

_WOMAN = "diaries-letters/GITenberg_-_Letters_of_a_Woman"
_DICKENS = "diaries-letters/Dickens_-_The_Letters_of_Charles_Dickens_-_Vol._"

HELD_OUT_SOURCES = {
    "diaries-letters/GITenberg_-_A_Garden_Diary": "A Garden Diary, Emily Lawless",
    "diaries-letters/GITenberg_-_Village_Life": "Village Life in America, Caroline Cowles Richards",
    _WOMAN: "Letters of a Woman Homesteader, Elinore Pruitt Stewart",
    "poetry/Sara_Teasdale_-_Rivers": "Rivers to the Sea, Sara Teasdale",
    "prose-modern/Willa_Cather": "My Ántonia, Willa Cather",
    "prose/Chesterton_-_Heretics": "Heretics, G. K. Chesterton",
    "prose/Wells_-_Tales_of_Space": "Tales of Space and Time, H. G. Wells",
    "prose/Nesbit_-_The_Literary": "The Literary Sense, Edith Nesbit",
}

_LETTERS = "diaries-letters/"
_POETRY = "poetry/"
_MODERN = "prose-modern/"
_PROSE = "prose/"

REPLAY_SOURCES = {
    _LETTERS + "Austen_-_The_Letters": "The Letters of Jane Austen, Jane Austen",
    _LETTERS + "Chekhov_-_Letters": "Letters of Anton Chekhov, Anton Chekhov (tr. C. Garnett)",
    _LETTERS + "Conrad_-_Some": "Some Reminiscences, Joseph Conrad",
    _LETTERS + "Conrad_-_Notes": "Notes on Life and Letters, Joseph Conrad",
    _LETTERS + "Darwin_-_Charles": "Charles Darwin: His Life, Charles Darwin (ed. F. Darwin)",
    _DICKENS + "1": "The Letters of Charles Dickens I, Charles Dickens",
    _DICKENS + "2": "The Letters of Charles Dickens II, Charles Dickens",
    _LETTERS + "Doyle_-_The_Stark": "The Stark Munro Letters, Arthur Conan Doyle",
    _LETTERS + "Franklin": "Autobiography, Benjamin Franklin",
    _LETTERS + "GITenberg_-_A_Journal_of_Imp": "A Journal of Impressions in Belgium, May Sinclair",
    _LETTERS + "GITenberg_-_Gallipoli": "Gallipoli Diary I, Sir Ian Hamilton",
    _LETTERS + "GITenberg_-_Letters_of_John_Keats": "Letters to His Family and Friends, John Keats",
    _LETTERS + "GITenberg_-_Maria_Mitchell": "Life, Letters, and Journals, Maria Mitchell",
    _LETTERS + "GITenberg_-_Scott": "Scott's Last Expedition I, Robert Falcon Scott",
    _LETTERS
    + "GITenberg_-_The_Cruise": "The Cruise of the Janet Nichol, Fanny Van de Grift Stevenson",
    _LETTERS + "GITenberg_-_The_Note_Books": "The Note-Books, Samuel Butler",
    _LETTERS + "James_-_Letters_from": "Letters from America, Rupert Brooke (preface Henry James)",
    _LETTERS + "Kipling_-_Letters": "Letters of Travel, Rudyard Kipling",
    _LETTERS + "Lang_-_Letters_on": "Letters on Literature, Andrew Lang",
    _LETTERS
    + "Stevenson_-_The_Letters": "The Letters of Robert Louis Stevenson I, Robert Louis Stevenson",
    _LETTERS + "Stevenson_-_Vailima": "Vailima Letters, Robert Louis Stevenson",
    _LETTERS + "Trollope": "An Autobiography, Anthony Trollope",
    _LETTERS + "Twain_-_Chapters": "Chapters from My Autobiography, Mark Twain",
    _LETTERS + "Twain_-_Mark_Twain_s_Letters": "Letters, Mark Twain",
    _LETTERS + "Wells_-_First": "First and Last Things, H. G. Wells",
    "essays/Ralph_Waldo": "Essays, Ralph Waldo Emerson",
    _POETRY + "A._E._Housman": "A Shropshire Lad, A. E. Housman",
    _POETRY + "Christina": "Goblin Market and Other Poems, Christina Rossetti",
    _POETRY + "Edgar_Lee": "Spoon River Anthology, Edgar Lee Masters",
    _POETRY + "Edna": "Second April, Edna St. Vincent Millay",
    _POETRY + "Rupert": "Collected Poems, Rupert Brooke",
    _POETRY + "Sara_Teasdale_-_Flame": "Flame and Shadow, Sara Teasdale",
    _POETRY + "Thomas_Hardy": "Satires of Circumstance, Thomas Hardy",
    _POETRY + "W_B_Yeats": "Poetry, W. B. Yeats",
    _POETRY + "Wilfred_Owen": "Poems, Wilfred Owen",
    _MODERN + "D_H_Lawrence": "Sons and Lovers, D. H. Lawrence",
    _MODERN + "Elizabeth": "Elizabeth and Her German Garden, Elizabeth von Arnim",
    _MODERN + "F_Scott_Fitzgerald_-_The_Great": "The Great Gatsby, F. Scott Fitzgerald",
    _MODERN + "F_Scott_Fitzgerald_-_This": "This Side of Paradise, F. Scott Fitzgerald",
    _MODERN + "Ford": "The Good Soldier, Ford Madox Ford",
    _MODERN + "George_Gissing": "The Private Papers of Henry Ryecroft, George Gissing",
    _MODERN + "Sherwood": "Winesburg, Ohio, Sherwood Anderson",
    _MODERN + "Sinclair": "Main Street, Sinclair Lewis",
    _MODERN + "Virginia_Woolf_-_Jacobs": "Jacob's Room, Virginia Woolf",
    _MODERN + "Virginia_Woolf_-_Mrs": "Mrs Dalloway, Virginia Woolf",
    _MODERN + "Virginia_Woolf_-_To": "To the Lighthouse, Virginia Woolf",
    _PROSE + "Barrie_-_Courage": "Courage, J. M. Barrie",
    _PROSE + "Chesterton_-_What": "What's Wrong with the World, G. K. Chesterton",
    _PROSE + "London_-_Revolution": "Revolution, and Other Essays, Jack London",
    _PROSE + "James_-_A_Little_Tour": "A Little Tour in France, Henry James",
    _PROSE + "Wharton_-_In_Morocco": "In Morocco, Edith Wharton",
    _PROSE + "Stevenson_-_Travels": "Travels with a Donkey, Robert Louis Stevenson",
    _PROSE + "Joyce_-_Dubliners": "Dubliners, James Joyce",
    _PROSE + "Joyce_-_A_Portrait": "A Portrait of the Artist as a Young Man, James Joyce",
    _PROSE + "Conrad_-_The_Shadow": "The Shadow Line, Joseph Conrad",
    _PROSE + "Melville_-_I_and": "I and My Chimney, Herman Melville",
    _PROSE + "Wilde_-_Reviews": "Reviews, Oscar Wilde",
    _PROSE + "Darwin_-_The_Formation": "The Formation of Vegetable Mould, Charles Darwin",
    _PROSE + "Montgomery_-_Anne_s": "Anne's House of Dreams, L. M. Montgomery",
}
