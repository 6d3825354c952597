/**
 * The dates that notes' paths mean. The daemon tells them: its rules know how this vault names its
 * daily and periodic notes. Knows nothing about what the notes hold.
 */
export class PathDates {
	private readonly known = new Map<string, string | null>();
	private readonly asked = new Map<string, Promise<void>>();

	constructor(private readonly ask: (path: string) => Promise<string | null>) {}

	/** "2019-03" or "2019"; null for a path without a date, undefined for one not asked for yet. */
	of(path: string): string | null | undefined {
		return this.known.get(path);
	}

	/** Ask once. What could not be told now is asked for again the next time. */
	async learn(path: string): Promise<void> {
		if (this.known.has(path)) return;
		const asking = this.asked.get(path) ?? this.hear(path).finally(() => this.asked.delete(path));
		this.asked.set(path, asking);
		await asking;
	}

	/** Ask anew from here on, as of a daemon that has come back. */
	forget(): void {
		this.known.clear();
	}

	private async hear(path: string): Promise<void> {
		const told = await this.ask(path).catch(() => undefined);
		if (told !== undefined) this.known.set(path, told);
	}
}
