"""A vault counted: its language, and folders that hold other people's words."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vault.helpers import write
from vaultgpt.corpus.words import count_words
from vaultgpt.settings import Rules
from vaultgpt.tasks.init import _foreign_folders
from vaultgpt.vault.census import census
from vaultgpt.vault.reconcile import read_vault


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        ("en", "I walked to the river and it was low, so we went home with the boat. "),
        ("de", "Ich ging zu dem Fluss und es war nicht spät, aber wir sind mit dem Boot zurück. "),
        ("zh", "昨天我在河边走了很久，想起了我的祖母，她总是说天气是改变不了的。"),
        ("ja", "昨日は川沿いを長く歩いて、祖母のことを思い出しました。天気は変えられないと。"),
        ("ko", "어제 나는 강가를 오래 걸으며 할머니를 생각했다. 날씨는 바꿀 수 없다고 하셨다. "),
        (
            "ru",
            "Вчера я долго шёл вдоль реки и думал о бабушке, которая говорила. ",
        ),
        ("uk", "Вчора я довго йшов уздовж річки і думав про бабусю, яка завжди їхала сюди. "),
        ("ar", "مشيت أمس طويلا على ضفة النهر وفكرت في جدتي التي كانت تقول إن الطقس لا يتغير. "),
        (
            "fa",
            "دیروز مدت زیادی کنار رودخانه راه رفتم و به مادربزرگم فکر کردم که چرا پیر شد. ",
        ),
        ("he", "אתמול הלכתי זמן רב לאורך הנהר וחשבתי על סבתי שתמיד אמרה שאי אפשר לשנות. "),
        ("el", "Χθες περπάτησα πολύ δίπλα στο ποτάμι και σκέφτηκα τη γιαγιά μου που έλεγε. "),
        ("hi", "कल मैं नदी के किनारे बहुत देर तक चला और अपनी दादी के बारे में सोचा। "),
        ("th", "เมื่อวานฉันเดินเลียบแม่น้ำนานมากและคิดถึงคุณยายที่เคยพูดเรื่องอากาศ "),
        (
            None,
            "Tegnap sokáig sétáltam a folyó mentén, és nagyanyámra gondoltam. ",
        ),
    ],
)
def test_a_language_is_told_by_its_script_or_its_small_words(
    tmp_path: Path, language: str | None, sentence: str
) -> None:
    write(tmp_path, "a.md", sentence * (400 // count_words(sentence) + 1))
    assert census(read_vault(tmp_path, Rules()).read)["language"] == language


def test_a_vault_of_two_scripts_has_the_one_of_most_letters(tmp_path: Path) -> None:
    write(tmp_path, "a.md", "昨天我在河边走了很久，想起了我的祖母。" * 60)
    write(tmp_path, "b.md", "I walked to the river. " * 10)
    assert census(read_vault(tmp_path, Rules()).read)["language"] == "zh"


def test_a_folder_of_excerpts_is_asked_about(tmp_path: Path) -> None:
    for n in range(6):
        write(
            tmp_path,
            f"微信读书/{n}.md",
            f"---\nisbn: {n}\n---\n> 📌 昨天我在河边走了很久\n\n昨天我走。\n",
        )
    write(tmp_path, "微信读书/note.md", "昨天我在河边走了很久，想起了我的祖母。\n")
    write(tmp_path, "Journal/a.md", "昨天我在河边走了很久，想起了我的祖母。\n")
    found = census(read_vault(tmp_path, Rules()).read)
    assert found["left_out"] == {"excerpt": 6} and found["foreign"] == {"微信读书": [6, 1]}
    (said,) = _foreign_folders(found)
    assert "`vaultgpt config rules.exclude 微信读书/`" in said and "the other one" in said
