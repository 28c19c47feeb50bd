// What a published value says, as far as a board can show it.

const NAMES = {
  price: ["price", "last", "close", "value", "mid"],
  change: ["change"],
  volume: ["volume"],
  label: ["date", "name"],
};

/** The first of some names that an object has, in whatever case. */
function pick(data, names, is) {
  for (const name of names) {
    const key = Object.keys(data).find((key) => key.toLowerCase() === name && is(data[key]));
    if (key !== undefined) return data[key];
  }
  return undefined;
}

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/**
 * @param {unknown} data what was published
 * @param {number} [before] the price before it, where the value names no change of its own
 * @returns {{price?: number, text: string, change?: number, percent?: number, volume?: number, label?: string}}
 */
export function reading(data, before) {
  if (isNumber(data)) return withChange({ price: data, text: format(data) }, before);
  if (typeof data !== "object" || data === null || Array.isArray(data)) return { text: shorten(data) };
  const price = pick(data, NAMES.price, isNumber);
  const label = pick(data, NAMES.label, (value) => typeof value === "string");
  if (price === undefined) return { text: shorten(data), label };
  const change = pick(data, NAMES.change, isNumber);
  const base = { price, text: format(price), volume: pick(data, NAMES.volume, isNumber), label };
  if (change === undefined) return withChange(base, before);
  return { ...base, change, percent: price - change > 0 ? (change / (price - change)) * 100 : undefined };
}

function withChange(base, before) {
  if (before === undefined) return base;
  const change = base.price - before;
  return { ...base, change, percent: before > 0 ? (change / before) * 100 : undefined };
}

function format(number) {
  const digits = Math.abs(number) >= 1 || number === 0 ? 2 : 4;
  return number.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

function shorten(data) {
  const text = typeof data === "string" ? data : JSON.stringify(data);
  return text.length > 24 ? `${text.slice(0, 23)}…` : text;
}
