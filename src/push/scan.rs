//! Names and values of a JSON text that flows by, in any pieces; the text itself is not kept.
//!
//! No tree, no recursion: a few hundred bytes of memory and one look at each byte, whatever the text is. It judges no
//! grammar. What is no JSON, is nested too deeply, or ends too early gives what it gave so far.

/// Objects and arrays within each other; beyond it nothing is read any more.
const DEPTH_MAX: u32 = 64;

/// As long as a name or value may be that somebody wants to hear of.
const WORD_MAX: usize = 128;

/// What some writers put before a text.
const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// Who is told what stands there.
pub(super) trait Listener {
    /// A string, number, `true`, `false` or `null`, under the nearest name before it, so many objects and arrays deep;
    /// the outermost one is 1. Very long strings do not come, nor those with an escaped half of a character.
    fn value(&mut self, name: &[u8], value: &[u8], depth: u32);

    /// An object or array under a name, which stands so deep.
    fn opened(&mut self, name: &[u8], depth: u32);
}

/// How far a text was read.
#[derive(Debug)]
pub(super) struct Scan {
    place: Place,
    /// Bytes of the mark before the text that have come.
    marked: usize,
    depth: u32,
    /// A bit for each level, the innermost lowest: whether it is an object.
    objects: u64,
    /// The next string is a name.
    naming: bool,
    name: Word,
    word: Word,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Between,
    String,
    /// Behind a backslash.
    Escape,
    /// Behind `\u`, and the digits that have come.
    Digits {
        count: u8,
        code: u32,
    },
    /// A number or a bare word.
    Bare,
    /// Nothing more is to be learnt.
    Done,
}

impl Default for Scan {
    fn default() -> Self {
        Self {
            place: Place::Between,
            marked: 0,
            depth: 0,
            objects: 0,
            naming: false,
            name: Word::default(),
            word: Word::default(),
        }
    }
}

impl Scan {
    pub(super) fn is_done(&self) -> bool {
        self.place == Place::Done
    }

    /// Reads on.
    pub(super) fn read(&mut self, mut bytes: &[u8], listener: &mut impl Listener) {
        while let Some((&first, rest)) = bytes.split_first() {
            match self.place {
                Place::Done => return,
                Place::String => {
                    let plain = bytes.iter().position(|byte| b"\"\\".contains(byte));
                    let (text, behind) = bytes.split_at(plain.unwrap_or(bytes.len()));
                    self.word.push(text);
                    match behind.first() {
                        Some(b'"') => self.string_ends(listener),
                        Some(_) => self.place = Place::Escape,
                        None => {}
                    }
                    bytes = behind.get(1..).unwrap_or_default();
                }
                Place::Escape => {
                    self.escaped(first);
                    bytes = rest;
                }
                Place::Digits { count, code } => match char::from(first).to_digit(16) {
                    Some(digit) => {
                        self.digit(count + 1, code << 4 | digit);
                        bytes = rest;
                    }
                    // It may be the string's end.
                    None => {
                        self.word.spoil();
                        self.place = Place::String;
                    }
                },
                Place::Bare if ends_bare_word(first) => {
                    self.place = Place::Between;
                    self.tell(listener);
                }
                Place::Bare => {
                    self.word.push(&[first]);
                    bytes = rest;
                }
                Place::Between => {
                    self.mark(first, listener);
                    bytes = rest;
                }
            }
        }
    }

    /// One byte between names and values.
    fn mark(&mut self, byte: u8, listener: &mut impl Listener) {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => {}
            b'{' | b'[' => self.open(byte == b'{', listener),
            _ if self.depth == 0 && BYTE_ORDER_MARK.get(self.marked) == Some(&byte) => {
                self.marked += 1;
            }
            // No object and no array: nothing here has a name.
            _ if self.depth == 0 => self.place = Place::Done,
            b'}' | b']' => self.close(),
            b',' => self.naming = self.is_object(),
            b':' => self.naming = false,
            b'"' => {
                self.word = Word::default();
                self.place = Place::String;
            }
            other => {
                self.word = Word::default();
                self.word.push(&[other]);
                self.place = Place::Bare;
            }
        }
    }

    fn open(&mut self, object: bool, listener: &mut impl Listener) {
        if self.depth == DEPTH_MAX {
            self.place = Place::Done;
            return;
        }
        if let Some(name) = self.name.whole() {
            listener.opened(name, self.depth);
        }
        self.depth += 1;
        self.objects = self.objects << 1 | u64::from(object);
        self.naming = object;
        if object {
            self.name = Word::default();
        }
    }

    fn close(&mut self) {
        self.depth -= 1;
        self.objects >>= 1;
        self.naming = false;
        self.name = Word::default();
        if self.depth == 0 {
            self.place = Place::Done;
        }
    }

    fn is_object(&self) -> bool {
        self.objects & 1 == 1
    }

    /// The byte behind a backslash.
    fn escaped(&mut self, byte: u8) {
        self.place = Place::String;
        match byte {
            b'u' => self.place = Place::Digits { count: 0, code: 0 },
            b'n' => self.word.push(b"\n"),
            b't' => self.word.push(b"\t"),
            b'r' => self.word.push(b"\r"),
            b'b' => self.word.push(&[8]),
            b'f' => self.word.push(&[12]),
            other => self.word.push(&[other]),
        }
    }

    /// One of the four digits of an escaped character.
    fn digit(&mut self, count: u8, code: u32) {
        if count < 4 {
            self.place = Place::Digits { count, code };
            return;
        }
        self.place = Place::String;
        match char::from_u32(code) {
            Some(character) => {
                let mut room = [0; 4];
                self.word.push(character.encode_utf8(&mut room).as_bytes());
            }
            // Half of a character of two: no word that counts has one.
            None => self.word.spoil(),
        }
    }

    fn string_ends(&mut self, listener: &mut impl Listener) {
        self.place = Place::Between;
        if self.naming {
            self.name = std::mem::take(&mut self.word);
            self.naming = false;
        } else {
            self.tell(listener);
        }
    }

    fn tell(&mut self, listener: &mut impl Listener) {
        if let (Some(name), Some(value)) = (self.name.whole(), self.word.whole()) {
            listener.value(name, value, self.depth);
        }
    }
}

fn ends_bare_word(byte: u8) -> bool {
    b" \t\r\n,:\"{}[]".contains(&byte)
}

/// A name or value, as far as there is room for it.
#[derive(Debug)]
struct Word {
    bytes: [u8; WORD_MAX],
    /// More than there is room for: it is not whole.
    len: usize,
}

impl Default for Word {
    fn default() -> Self {
        Self {
            bytes: [0; WORD_MAX],
            len: 0,
        }
    }
}

impl Word {
    fn push(&mut self, bytes: &[u8]) {
        let end = self.len.saturating_add(bytes.len());
        match self.bytes.get_mut(self.len..end) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.len = end;
            }
            None => self.spoil(),
        }
    }

    fn spoil(&mut self) {
        self.len = WORD_MAX + 1;
    }

    fn whole(&self) -> Option<&[u8]> {
        self.bytes.get(..self.len).filter(|word| !word.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Default, PartialEq)]
    struct Heard(Vec<String>);

    impl Listener for Heard {
        fn value(&mut self, name: &[u8], value: &[u8], depth: u32) {
            let (name, value) = (
                String::from_utf8_lossy(name),
                String::from_utf8_lossy(value),
            );
            assert!(depth > 0);
            self.0.push(format!("{name}={value}"));
        }

        fn opened(&mut self, name: &[u8], depth: u32) {
            assert!(depth > 0);
            self.0.push(format!("{}:", String::from_utf8_lossy(name)));
        }
    }

    fn heard(pieces: &[&[u8]]) -> Vec<String> {
        let (mut scan, mut heard) = (Scan::default(), Heard::default());
        for piece in pieces {
            scan.read(piece, &mut heard);
        }
        heard.0
    }

    #[test]
    fn texts() {
        let check = |text: &str, wanted: &[&str]| {
            assert_eq!(heard(&[text.as_bytes()]), wanted, "{text}");
        };
        check(r#"{"a":"x","b":1}"#, &["a=x", "b=1"]);
        check(" {\n\"a\" :\ttrue , \"b\": null }", &["a=true", "b=null"]);
        check(
            r#"{"a":{"b":{"c":"x"},"d":"y"},"e":"z"}"#,
            &["a:", "b:", "c=x", "d=y", "e=z"],
        );
        check(r#"{"a":["x","y"],"b":"z"}"#, &["a:", "a=x", "a=y", "b=z"]);
        check(r#"[{"a":"x"},{"a":"y"},"no name"]"#, &["a=x", "a=y"]);
        check(r#"{"a":[{"b":"x"}]}"#, &["a:", "a:", "b=x"]);
        // A value that looks like a name, and a name that looks like a value.
        check(r#"{"a":"type","type":"x"}"#, &["a=type", "type=x"]);
        check(
            r#"{"a":"{\"type\":\"x\"}","b":"y"}"#,
            &[r#"a={"type":"x"}"#, "b=y"],
        );
        check(
            r#"{"\u0061":"x","b":"\n","c":"\u00fC\/\\"}"#,
            &["a=x", "b=\n", "c=ü/\\"],
        );
        // Two halves of a character, no digits, and an end that is no end.
        check(r#"{"a":"\ud83d\ude00","b":"y"}"#, &["b=y"]);
        check(r#"{"a":"\u00g0","b":"\u12","c":"y"}"#, &["c=y"]);
        check(r#"{"a":"","":"x","b":"y"}"#, &["b=y"]);
        // The end is missing, or comes too early.
        check(r#"{"a":"x","b":"y"#, &["a=x"]);
        check(r#"{"a":"x"} {"b":"y"}"#, &["a=x"]);
        check(r#"{"a":1"#, &[]);
        check("", &[]);
        // No JSON.
        check("a=x&b=y", &[]);
        check(r#""a":"x""#, &[]);
        check("<a>{\"b\":\"x\"}</a>", &[]);
        check("\u{feff} {\"a\":\"x\"}", &["a=x"]);
        check("\u{feff}\u{feff}{\"a\":\"x\"}", &[]);
        check(r#"{"a" "b" "c":"x"}"#, &["a=b", "a=c", "a=x"]);
        check("}]", &[]);
        check(r#"{"a":x]}"#, &["a=x"]);
    }

    #[test]
    fn long_words_do_not_come_and_others_do() {
        let long = "x".repeat(WORD_MAX + 1);
        let fits = "y".repeat(WORD_MAX);
        let text = format!(r#"{{"a":"{long}","{long}":"b","c":"{fits}"}}"#);
        assert_eq!(heard(&[text.as_bytes()]), [format!("c={fits}")]);
    }

    #[test]
    fn what_is_nested_too_deeply_ends_the_reading() {
        let deep = |levels: usize| format!("{{\"a\":\"x\",\"b\":{}", "[".repeat(levels));
        let text = format!("{}\"y\"", deep(DEPTH_MAX as usize - 1));
        assert_eq!(heard(&[text.as_bytes()]).last().unwrap(), "b=y");
        let text = format!("{}\"y\"", deep(DEPTH_MAX as usize));
        assert_eq!(heard(&[text.as_bytes()]).last().unwrap(), "b:");
        let (mut scan, mut heard) = (Scan::default(), Heard::default());
        scan.read("[".repeat(100_000).as_bytes(), &mut heard);
        assert!(scan.is_done());
    }

    /// What a real parser finds in a text, said as `Heard` says it.
    fn found(name: &str, value: &serde_json::Value, into: &mut Vec<String>) {
        use serde_json::Value;
        let named = !name.is_empty();
        match value {
            Value::Object(fields) => {
                if named {
                    into.push(format!("{name}:"));
                }
                for (name, value) in fields {
                    found(name, value, into);
                }
            }
            Value::Array(items) => {
                if named {
                    into.push(format!("{name}:"));
                }
                // Behind an object or array inside of it, an array's name is not known any more.
                let mut name = name;
                for item in items {
                    found(name, item, into);
                    if item.is_object() || item.is_array() {
                        name = "";
                    }
                }
            }
            Value::String(text) if named && !text.is_empty() => {
                into.push(format!("{name}={text}"));
            }
            Value::String(_) => {}
            other if named => into.push(format!("{name}={other}")),
            _ => {}
        }
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        use serde_json::Value;
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-zA-Z0-9:{}\\[\\], ]{0,20}".prop_map(Value::from),
        ];
        let tree = leaf.prop_recursive(6, 60, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map("[a-z:,{}]{1,8}", inner, 0..6)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        });
        prop::collection::btree_map("[a-z]{1,8}", tree, 0..6)
            .prop_map(|fields| Value::Object(fields.into_iter().collect()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn it_hears_what_a_parser_finds(value in json()) {
            let mut wanted = Vec::new();
            found("", &value, &mut wanted);
            prop_assert_eq!(heard(&[value.to_string().as_bytes()]), wanted);
        }

        #[test]
        fn pieces_make_no_difference(
            bytes in prop::collection::vec(prop_oneof![
                3 => prop::sample::select(&b"{}[]\",:\\ ab1"[..]),
                1 => any::<u8>(),
            ], 0..300),
            size in 1_usize..40,
        ) {
            let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
            prop_assert_eq!(heard(&pieces), heard(&[&bytes]));
        }

        #[test]
        fn the_start_of_a_text_gives_the_start_of_what_it_says(value in json(), at in 0_usize..400) {
            let text = value.to_string();
            let whole = heard(&[text.as_bytes()]);
            let part = heard(&[&text.as_bytes()[..at.min(text.len())]]);
            prop_assert_eq!(&whole[..part.len()], &part[..]);
        }
    }
}
