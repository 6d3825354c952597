/**
 * Makes one tree of elements like another, keeping every element that is the same: focus, a selection
 * and what is unfolded survive. An element has children or text, not both.
 */

/** Give `old` the attributes and the content of `made`, whose elements may be moved into it. */
export function morph(old: Element, made: Element): void {
	for (const { name } of Array.from(old.attributes)) if (!made.hasAttribute(name) && name !== "open") old.removeAttribute(name);
	for (const { name, value } of Array.from(made.attributes)) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
	if (made.children.length === 0) {
		if (old.children.length > 0 || old.textContent !== made.textContent) old.textContent = made.textContent;
		return;
	}
	if (old.children.length === 0) old.replaceChildren();
	const known = new Map(Array.from(old.children, (child) => [keyOf(child), child]));
	const wanted = Array.from(made.children, (child) => [keyOf(child), child] as const);
	let at = old.firstElementChild;
	for (const [key, child] of wanted) {
		const kept = known.get(key);
		known.delete(key);
		if (kept) morph(kept, child);
		if (kept && kept === at) at = at.nextElementSibling;
		else old.insertBefore(kept ?? child, at);
	}
	for (const gone of known.values()) gone.remove();
}

/** Two children with one key are the same thing: by data-key, else by tag and place among its like. */
function keyOf(element: Element): string {
	const own = element.getAttribute("data-key");
	if (own !== null) return own;
	const twins = Array.from(element.parentElement?.children ?? []).filter((other) => !other.hasAttribute("data-key") && other.tagName === element.tagName);
	return `${element.tagName} ${twins.indexOf(element)}`;
}
