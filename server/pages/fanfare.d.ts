// Types of fanfare.js. Times named ts are microseconds since 1970 by the server's clock.

export interface SubscribeOptions {
  /** `all` (default): every update. `latest`: the newest value whenever the connection can take one. */
  mode?: "all" | "latest";
  /** What becomes of a connection that reads too slowly. */
  on_slow?: "conflate" | "close";
  /** At most one update in so many milliseconds, the newest. */
  min_interval_ms?: number;
  /** Updates that waited for so long are left out if there is a newer one. */
  max_stale_ms?: number;
  /** Whether the last value comes first; true by default. */
  snapshot?: boolean;
}

export interface Options {
  /** A token, or a function that is asked for one on each connection and when the last one expires. */
  token?: string | (() => string | undefined | Promise<string | undefined>);
  /** What may be used, the first choice first. */
  transports?: Transport[];
  /** The WebSocket to use; the global one by default. Node 20 and 21 have none: pass that of the package ws. */
  WebSocket?: new (url: string, protocols?: string[]) => unknown;
  /** The fetch to use; the global one by default. */
  fetch?: typeof fetch;
  backoffMinMs?: number;
  backoffMaxMs?: number;
  stableMs?: number;
  laterMinMs?: number;
  handshakeTimeoutMs?: number;
  streamTimeoutMs?: number;
  /** How often a stream of events shows life: the server's `--heartbeat`. */
  streamHeartbeatS?: number;
  pollWaitS?: number;
  retryFirstMs?: number;
  keyAgeMs?: number;
  /** Random numbers from 0 to 1, and milliseconds since 1970; for tests. */
  random?: () => number;
  now?: () => number;
}

export type Transport = "websocket" | "sse" | "poll";
export type State = "connecting" | "open" | "waiting" | "closed";

/** A value of a topic. */
export interface DataEvent<T = unknown> {
  type: "snapshot" | "history" | "update";
  topic: string;
  seq: number;
  ts: number;
  /** What was published; a string where `encoding` says what it was. */
  data: T;
  encoding?: "text" | "base64";
  /** Of updates: milliseconds since the server took it, once the clocks have been compared. */
  latencyMs?: number;
}

/** Updates that were left out in favour of a newer one, `from` to `to`, both included. */
export interface SkipEvent {
  type: "skip";
  topic: string;
  from: number;
  to: number;
  why: "slow" | "rate" | "stale";
}

/** Updates that are lost: from `from` on, up to `to` where that is known. `unseen`: missed under a filter while away. */
export interface GapEvent {
  type: "gap";
  topic: string;
  from: number;
  to?: number;
  why: "epoch" | "history" | "overflow" | "unseen";
  epoch?: string;
}

export type TopicEvent<T = unknown> = DataEvent<T> | SkipEvent | GapEvent;

export interface StateEvent {
  type: "state";
  state: State;
  transport: Transport;
  /** How many connections in a row have not held. */
  attempt?: number;
  /** Until the next attempt. */
  delayMs?: number;
  /** Why the last one ended. */
  code?: number;
  status?: number;
  reason?: string;
}

export interface ErrorEvent {
  type: "error";
  code?: number;
  name?: string;
  message?: string;
  topic?: string;
  topics?: string[];
}

export interface NoticeEvent {
  type: "notice";
  kind: string;
  in_ms?: number;
  reconnect_ms?: [number, number];
}

export interface SubscribedEvent {
  type: "subscribed";
  topics: { topic: string; epoch?: string; seq?: number; matched?: number; recovered?: "full" | "none"; count?: number }[];
  errors?: { topic: string; code: number; message: string }[];
}

export interface Events {
  state: StateEvent;
  update: DataEvent;
  snapshot: DataEvent;
  history: DataEvent;
  skip: SkipEvent;
  gap: GapEvent;
  error: ErrorEvent;
  notice: NoticeEvent;
  subscribed: SubscribedEvent;
}

export interface Published {
  topic: string;
  epoch: string;
  seq: number;
}

export interface LatencySummary {
  count: number;
  p50?: number;
  p99?: number;
  max?: number;
  rtt?: number;
}

export class FanfareError extends Error {
  code?: number;
  errorName?: string;
}

export class Client {
  readonly state: State;
  readonly transport: Transport;
  readonly hello?: { conn?: string; heartbeat_s?: number; auth?: string; limits?: Record<string, number> };
  readonly epoch?: string;
  readonly pending: number;
  readonly clockOffsetMs?: number;
  latency(): LatencySummary;
  on<K extends keyof Events>(type: K, listener: (event: Events[K]) => void): () => void;
  subscribe<T = unknown>(names: string | string[], handler: (event: TopicEvent<T>) => void): () => void;
  subscribe<T = unknown>(names: string | string[], options?: SubscribeOptions, handler?: (event: TopicEvent<T>) => void): () => void;
  unsubscribe(names: string | string[]): void;
  set(name: string, options: SubscribeOptions): void;
  publish(topic: string, data: unknown, options?: { key?: string; signal?: AbortSignal }): Promise<Published>;
  check(topics: string | string[]): Promise<Published[]>;
  topics(filter?: string, options?: { limit?: number }): Promise<{ epoch: string; topics: { topic: string; seq: number; subscribers: number }[]; truncated: boolean }>;
  history<T = unknown>(
    topic: string,
    options?: { since?: number; limit?: number },
  ): Promise<{ topic: string; epoch: string; seq: number; updates: { seq: number; ts: number; data: T }[]; gap?: { from: number; to: number } }>;
  close(): void;
}

export function connect(url?: string | URL, options?: Options): Client;
export function addresses(url?: string | URL, page?: URL | Location): { socketUrl: string; httpUrl: string };
export function covers(filter: string, topic: string): boolean;
export function isFilter(name: string): boolean;
