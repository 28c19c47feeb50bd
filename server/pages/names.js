// Who somebody is on this browser: a name that can be changed, and a colour that goes with an id.

const KEPT = "fanfare.name";
const FIRST = ["Quiet", "Bright", "Swift", "Gentle", "Bold", "Clever", "Merry", "Calm", "Lucky", "Keen"];
const SECOND = ["Heron", "Otter", "Maple", "Comet", "Fox", "Lark", "Cedar", "Finch", "River", "Lynx"];

const any = (list) => list[Math.floor(Math.random() * list.length)];

/** An id that nobody else has. */
export const newId = () => Array.from(crypto.getRandomValues(new Uint32Array(2)), (part) => part.toString(36)).join("");

/** Fills a name's field and keeps what is typed there. @returns {() => string} the name as it is */
export function nameField(field, onChange = () => {}) {
  let name;
  try {
    name = localStorage.getItem(KEPT);
  } catch {
    // A browser that keeps nothing gives another name next time.
  }
  field.value = name || `${any(FIRST)} ${any(SECOND)}`;
  field.addEventListener("change", () => {
    field.value = field.value.trim() || `${any(FIRST)} ${any(SECOND)}`;
    try {
      localStorage.setItem(KEPT, field.value);
    } catch {
      // As above.
    }
    onChange();
  });
  return () => field.value.trim() || "Somebody";
}

/** One of eight classes of colour, the same for everybody. */
export function hue(id) {
  let sum = 0;
  for (const char of String(id)) sum = (sum * 31 + char.codePointAt(0)) >>> 0;
  return sum % 8;
}
