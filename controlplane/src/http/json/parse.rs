//! A strict JSON parser with limits: nothing that another reader could see differently gets in.
//!
//! Refused beyond RFC 8259: duplicate keys, `__proto__`, NUL in texts, lone surrogates, numbers that
//! no `f64` or 64-bit integer holds, more than 64 levels, more than 20,000 values. Errors name
//! the byte offset and, inside a document, the JSON pointer.

use std::collections::HashSet;
use std::fmt::Write as _;

use serde_json::{Map, Number, Value};

use crate::http::code::Code;
use crate::http::problem::{FieldError, Problem};

/// Levels of arrays and objects. Nothing we take needs more than ten.
const DEPTH_MAX: usize = 64;
/// Values in one document, keys of objects included.
const ITEMS_MAX: usize = 20_000;

/// Parses one document.
///
/// # Errors
///
/// The first fault, as the problem to answer with.
pub fn parse(bytes: &[u8]) -> Result<Value, Problem> {
    let mut parser = Parser { bytes, at: 0, items: 0, path: Vec::new() };
    parser.space();
    let value = parser.value()?;
    parser.space();
    match parser.bytes.get(parser.at) {
        None => Ok(value),
        Some(_) => Err(parser.fail(Code::InvalidJson, "there is more after the end of the JSON")),
    }
}

enum Step {
    Key(String),
    Index(usize),
}

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
    items: usize,
    path: Vec<Step>,
}

impl Parser<'_> {
    fn value(&mut self) -> Result<Value, Problem> {
        self.items += 1;
        if self.items > ITEMS_MAX {
            let text = format!("there are more than {ITEMS_MAX} values");
            return Err(self.fail(Code::TooManyItems, &text));
        }
        match self.peek() {
            Some(b'{') => self.object(),
            Some(b'[') => self.array(),
            Some(b'"') => Ok(Value::String(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(_) => Err(self.fail(Code::InvalidJson, "no JSON value begins here")),
            None => Err(self.fail(Code::InvalidJson, "the JSON ends too early")),
        }
    }

    fn object(&mut self) -> Result<Value, Problem> {
        self.descend()?;
        let mut object = Map::new();
        let mut seen = HashSet::new();
        self.at += 1;
        self.space();
        if self.take(b'}') {
            return Ok(Value::Object(object));
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.fail(Code::InvalidJson, "a key in quotes is due here"));
            }
            let key = self.string()?;
            if key == "__proto__" {
                return Err(self.fail(Code::InvalidJson, "the key __proto__ is not allowed"));
            }
            if !seen.insert(key.clone()) {
                let text = format!("the key \"{}\" is there twice", shown(&key));
                return Err(self.fail(Code::InvalidJson, &text));
            }
            self.space();
            self.expect(b':', "a colon is due here")?;
            self.space();
            self.path.push(Step::Key(key));
            let value = self.value()?;
            if let Some(Step::Key(key)) = self.path.pop() {
                object.insert(key, value);
            }
            self.space();
            if self.take(b'}') {
                return Ok(Value::Object(object));
            }
            self.expect(b',', "a comma or } is due here")?;
            self.space();
        }
    }

    fn array(&mut self) -> Result<Value, Problem> {
        self.descend()?;
        let mut array = Vec::new();
        self.at += 1;
        self.space();
        if self.take(b']') {
            return Ok(Value::Array(array));
        }
        loop {
            self.path.push(Step::Index(array.len()));
            array.push(self.value()?);
            self.path.pop();
            self.space();
            if self.take(b']') {
                return Ok(Value::Array(array));
            }
            self.expect(b',', "a comma or ] is due here")?;
            self.space();
        }
    }

    fn descend(&self) -> Result<(), Problem> {
        if self.path.len() >= DEPTH_MAX {
            let text = format!("there are more than {DEPTH_MAX} levels");
            return Err(self.fail(Code::JsonTooDeep, &text));
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Value, Problem> {
        let start = self.at;
        while matches!(self.peek(), Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
            self.at += 1;
        }
        let text = std::str::from_utf8(&self.bytes[start..self.at]).unwrap_or_default();
        let whole = !text.contains(['.', 'e', 'E']);
        match text.parse::<Number>() {
            // A whole number that became a float does not fit in 64 bits.
            Ok(number) if whole && number.is_f64() && text != "-0" => {
                Err(self.fail_at(start, Code::OutOfRange, "the number does not fit in 64 bits"))
            }
            Ok(number) => Ok(Value::Number(number)),
            Err(_) if is_number(text) => {
                Err(self.fail_at(start, Code::OutOfRange, "the number is too large"))
            }
            Err(_) => Err(self.fail_at(start, Code::InvalidJson, "this is not a JSON number")),
        }
    }

    fn string(&mut self) -> Result<String, Problem> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        let mut run = self.at;
        loop {
            match self.peek() {
                None => return Err(self.fail(Code::InvalidJson, "a text does not end")),
                Some(b'"') => {
                    self.append(run, &mut text)?;
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => {
                    self.append(run, &mut text)?;
                    text.push(self.escape(start)?);
                    run = self.at;
                }
                Some(0..=0x1f) => {
                    return Err(self.fail(Code::InvalidJson, "a control character in a text"));
                }
                Some(_) => self.at += 1,
            }
        }
    }

    fn append(&self, run: usize, text: &mut String) -> Result<(), Problem> {
        match std::str::from_utf8(&self.bytes[run..self.at]) {
            Ok(piece) => {
                text.push_str(piece);
                Ok(())
            }
            Err(error) => {
                let at = run + error.valid_up_to();
                Err(self.fail_at(at, Code::InvalidUtf8, "the text is not valid UTF-8"))
            }
        }
    }

    fn escape(&mut self, start: usize) -> Result<char, Problem> {
        self.at += 1;
        let letter = self.peek();
        self.at += 1;
        Ok(match letter {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(start),
            _ => return Err(self.fail(Code::InvalidJson, "an escape that JSON does not have")),
        })
    }

    fn unicode(&mut self, start: usize) -> Result<char, Problem> {
        let first = self.hex4()?;
        let point = match first {
            0xd800..=0xdbff if self.bytes[self.at..].starts_with(b"\\u") => {
                self.at += 2;
                let second = self.hex4()?;
                if !(0xdc00..=0xdfff).contains(&second) {
                    return Err(self.lone_surrogate(start));
                }
                0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
            }
            _ => first,
        };
        match char::from_u32(point) {
            Some('\0') => {
                Err(self.fail_at(start, Code::InvalidUtf8, "a text may not hold a NUL character"))
            }
            Some(character) => Ok(character),
            None => Err(self.lone_surrogate(start)),
        }
    }

    fn lone_surrogate(&self, start: usize) -> Problem {
        self.fail_at(start, Code::InvalidUtf8, "the text has half of a surrogate pair")
    }

    fn hex4(&mut self) -> Result<u32, Problem> {
        let digits = self.bytes.get(self.at..self.at + 4);
        let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()) {
            Some(unit) => {
                self.at += 4;
                Ok(unit)
            }
            None => Err(self.fail(Code::InvalidJson, "four hexadecimal digits are due here")),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, Problem> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(self.fail(Code::InvalidJson, "no JSON value begins here"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn expect(&mut self, byte: u8, text: &str) -> Result<(), Problem> {
        if self.take(byte) { Ok(()) } else { Err(self.fail(Code::InvalidJson, text)) }
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn fail(&self, code: Code, text: &str) -> Problem {
        self.fail_at(self.at, code, text)
    }

    fn fail_at(&self, at: usize, code: Code, text: &str) -> Problem {
        let mut pointer = String::new();
        for step in self.path.iter().take(DEPTH_MAX) {
            match step {
                Step::Key(key) => push_key(&mut pointer, key),
                Step::Index(index) => {
                    let _ = write!(pointer, "/{index}");
                }
            }
        }
        let detail = format!("{text} (byte {at})");
        Problem::of_fields(vec![(code, FieldError::new(code, pointer, detail))])
    }
}

/// Appends `key` to a JSON pointer; long keys are cut, for people.
pub fn push_key(pointer: &mut String, key: &str) {
    pointer.push('/');
    pointer.push_str(&shown(key).replace('~', "~0").replace('/', "~1"));
}

fn shown(key: &str) -> String {
    key.chars().take(64).collect()
}

/// Whether `text` has the form of a JSON number, however large.
fn is_number(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    digits(whole)
        && digits(fraction)
        && digits(exponent)
        && (whole == "0" || !whole.starts_with('0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn code(text: impl AsRef<[u8]>) -> String {
        parse(text.as_ref()).map(|_| ()).unwrap_err().code().to_owned()
    }

    #[test]
    fn b01_what_is_not_json_is_refused_with_the_byte() {
        for text in ["", "{", "{\"a\":1,}", "[1 2]", "nul", "{} x", "'a'", "\"a", "01", "1.", "+1"]
        {
            let problem = parse(text.as_bytes()).unwrap_err();
            assert_eq!(problem.code(), "invalid_json", "{text}");
            assert!(problem.detail().contains("(byte "), "{text}: {}", problem.detail());
        }
    }

    #[test]
    fn b02_depth_and_count_are_limited() {
        assert_eq!(code("[".repeat(10_000)), "json_too_deep");
        assert_eq!(code(format!("[{}0]", "0,".repeat(100_000))), "too_many_items");
        let keys: Vec<String> = (0..1_000_000).map(|n| format!("\"{n}\":0")).collect();
        assert_eq!(code(format!("{{{}}}", keys.join(","))), "too_many_items");
        parse(format!("{}{}", "[".repeat(64), "]".repeat(64)).as_bytes()).unwrap();
    }

    #[test]
    fn b03_what_two_readers_could_see_differently_is_refused() {
        assert_eq!(code(r#"{"a":1,"a":2}"#), "invalid_json");
        assert_eq!(code(r#"{"a":1,"\u0061":2}"#), "invalid_json");
        assert_eq!(code(r#"{"__proto__":{}}"#), "invalid_json");
        assert_eq!(code("[NaN]"), "invalid_json");
        let problem = parse(br#"{"limit":1e999}"#).unwrap_err();
        assert_eq!(problem.code(), "out_of_range");
        assert!(problem.detail().starts_with("/limit: "), "{}", problem.detail());
        assert_eq!(code("[18446744073709551616]"), "out_of_range");
    }

    #[test]
    fn b07_texts_that_are_none_are_refused_with_the_field() {
        let cases: [&[u8]; 5] = [
            b"{\"a\":\"\xff\"}",
            b"{\"a\":\"\xc0\xaf\"}",
            br#"{"a":"\ud800"}"#,
            br#"{"a":"\ud800\u0041"}"#,
            br#"{"a":"x\u0000y"}"#,
        ];
        for bytes in cases {
            let problem = parse(bytes).unwrap_err();
            assert_eq!(problem.code(), "invalid_utf8");
            assert!(problem.detail().starts_with("/a: "), "{}", problem.detail());
        }
        let value = parse(br#""\ud83d\ude00""#).unwrap();
        assert_eq!(value, Value::String("😀".to_owned()));
    }

    proptest! {
        #[test]
        fn whatever_serde_json_writes_is_read_back(value in arbitrary()) {
            let text = serde_json::to_vec(&value).unwrap();
            prop_assert_eq!(parse(&text).unwrap(), value);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn it_accepts_nothing_that_serde_json_refuses(text in r#"[\[\]{}",:0-9eE.+\- \\utrfalsn]{0,24}"#) {
            if parse(text.as_bytes()).is_ok() {
                prop_assert!(serde_json::from_str::<Value>(&text).is_ok());
            }
        }
    }

    fn arbitrary() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            "[^\0]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a-z]{1,4}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }
}
