/**
 * What the author accepted, until the daemon has heard of it: it must never be trained on. Kept on
 * this device, outside the vault. Knows nothing about editors.
 */
export interface Acceptance {
	readonly id: string;
	readonly text: string;
	readonly path: string | null;
}

export interface Shelf {
	load(): unknown;
	save(value: readonly Acceptance[]): void;
}

/** The shelf holds this much at most; the oldest go first. */
const MOST = 500;

export class Outbox {
	private sending = false;

	constructor(
		private readonly shelf: Shelf,
		private readonly send: (item: Acceptance) => Promise<void>,
	) {}

	get waiting(): readonly Acceptance[] {
		const value = this.shelf.load();
		return Array.isArray(value) ? value.filter(isAcceptance) : [];
	}

	/** Keep an acceptance; a longer one of the same ghost takes the shorter one's place. */
	put(item: Acceptance): void {
		const others = this.waiting.filter(({ id }) => id !== item.id);
		this.shelf.save([...others, item].slice(-MOST));
	}

	/** Report all that waits, oldest first; what the daemon can't be told now stays. */
	async flush(): Promise<void> {
		if (this.sending) return;
		this.sending = true;
		try {
			for (let item = this.waiting[0]; item; item = this.waiting[0]) {
				await this.send(item);
				const sent = item;
				this.shelf.save(this.waiting.filter(({ id, text }) => id !== sent.id || text !== sent.text));
			}
		} finally {
			this.sending = false;
		}
	}
}

function isAcceptance(value: unknown): value is Acceptance {
	const item = value as Partial<Acceptance> | null;
	return typeof item?.id === "string" && typeof item.text === "string" && item.text !== "";
}
