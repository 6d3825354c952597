// The author's own HTTPS address in front of the daemon, as `tailscale serve` makes one: it ends TLS, keeps
// the Host, and forwards to the loopback. And a phone's network: a request from outside the page.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { request as plain, type IncomingMessage } from "node:http";
import { createServer, request } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";

export const NAME = "desk.tail1234.ts.net";

export interface Asked {
	url: string;
	method: string;
	headers: Record<string, string>;
	body?: string;
}

export class Proxy {
	/** What was forwarded, as "POST /v1/completions". */
	readonly forwarded: string[] = [];
	/** Waited for before an answer is given on. */
	hold: Promise<unknown> = Promise.resolve();

	private constructor(
		/** The port on the loopback that is forwarded to; 0 for none. */
		public target: number,
		private readonly certificate: Buffer,
		private readonly server: ReturnType<typeof createServer>,
	) {}

	static async open(target: number, port = 0): Promise<Proxy> {
		const { key, cert } = certificate();
		const server = createServer({ key, cert });
		const proxy = new Proxy(target, cert, server);
		server.on("request", (request: IncomingMessage, response) => {
			void proxy.forward(request).then(
				({ status, body }) => response.writeHead(status).end(body),
				() => response.writeHead(502).end(),
			);
		});
		await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
		return proxy;
	}

	/** As the author gives it to the daemon: the name with its port. */
	get name(): string {
		return `${NAME}:${(this.server.address() as AddressInfo).port}`;
	}

	/** What the phone's own network does; null where nothing answers. It gives whole answers alone. */
	async ask({ url, method, headers, body }: Asked): Promise<{ status: number; text: string } | null> {
		const { hostname, port, pathname, search } = new URL(url);
		if (hostname !== NAME) return null;
		return new Promise((resolve) => {
			const to = { host: "127.0.0.1", port, path: pathname + search, method, headers: { ...headers, Host: `${hostname}:${port}` }, ca: this.certificate, servername: hostname };
			const asked = request(to, (response) => void text(response).then((all) => resolve({ status: response.statusCode ?? 0, text: all })));
			asked.on("error", () => resolve(null));
			asked.end(body);
		});
	}

	close(): void {
		this.server.closeAllConnections();
		this.server.close();
	}

	private async forward(request: IncomingMessage): Promise<{ status: number; body: string }> {
		const { method = "GET", url = "/", headers } = request;
		this.forwarded.push(`${method} ${url.replace(/\?.*/, "")}`);
		const body = await text(request);
		const kept = { ...headers, "x-forwarded-host": headers.host, "x-forwarded-proto": "https" };
		const answer = await new Promise<IncomingMessage>((resolve, reject) => {
			plain({ host: "127.0.0.1", port: this.target, method, path: url, headers: kept }, resolve).on("error", reject).end(body);
		});
		const whole = await text(answer);
		await this.hold;
		return { status: answer.statusCode ?? 0, body: whole };
	}
}

/** A certificate of our own for the name, as a private network's authority would give. */
function certificate(): { key: Buffer; cert: Buffer } {
	const folder = mkdtempSync(join(tmpdir(), "vaultgpt-proxy-"));
	const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
	try {
		execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", `/CN=${NAME}`, "-addext", `subjectAltName=DNS:${NAME}`, "-keyout", key, "-out", cert], { stdio: "pipe" });
		return { key: readFileSync(key), cert: readFileSync(cert) };
	} finally {
		rmSync(folder, { recursive: true });
	}
}
