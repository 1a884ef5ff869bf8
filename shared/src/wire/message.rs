//! Reading MessagePack into the types of the protocol.
//!
//! ```text
//! bytes ──► token (one place for every type) ──► what the type asked for, or what stands there instead
//! ```
//!
//! Messages are written by `rmp-serde`, with field names. Its reader makes a copy of itself for each
//! type that it reads, several KiB with all that could stand there; here a type has what it can take,
//! and the rest is one function. A structure is a map, never an array; an extension is passed over
//! where nobody asked for it and refused elsewhere. A test reads everything with both.

use std::fmt::Display;

use serde::Deserializer;
use serde::de::{
    DeserializeSeed, EnumAccess, Error as _, Expected, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

/// Why bytes are no message of the type that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// There are fewer bytes than were announced.
    #[error("the message ends too early")]
    Ended,
    /// A text that is none.
    #[error("a text is not UTF-8")]
    Text,
    /// Maps and arrays in each other without end.
    #[error("it is nested too deeply")]
    Depth,
    /// A map or an array has more in it than its type takes.
    #[error("{0} entries are too many")]
    Length(u32),
    /// A byte that begins nothing.
    #[error("no value begins with {0:#04x}")]
    Marker(u8),
    /// Something else than its type takes; names the field.
    #[error("{0}")]
    Other(Box<str>),
}

impl serde::de::Error for MessageError {
    fn custom<T: Display>(text: T) -> Self {
        Self::Other(text.to_string().into())
    }
}

/// What stands at a place. A map and an array are only begun.
#[derive(Clone, Copy)]
enum Token<'de> {
    Nil,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Short(f32),
    Float(f64),
    Text(&'de [u8]),
    Binary(&'de [u8]),
    Array(u32),
    Map(u32),
    Extension,
}

impl Token<'_> {
    fn is_text(&self) -> Option<&str> {
        match self {
            Self::Text(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The error that it is not what was `expected`.
    #[cold]
    fn instead_of(&self, expected: &dyn Expected) -> MessageError {
        let found = match *self {
            Self::Nil => Unexpected::Unit,
            Self::Bool(value) => Unexpected::Bool(value),
            Self::Unsigned(value) => Unexpected::Unsigned(value),
            Self::Signed(value) => Unexpected::Signed(value),
            Self::Short(value) => Unexpected::Float(value.into()),
            Self::Float(value) => Unexpected::Float(value),
            Self::Text(_) => match self.is_text() {
                Some(text) => Unexpected::Str(text),
                None => return MessageError::Text,
            },
            Self::Binary(bytes) => Unexpected::Bytes(bytes),
            Self::Array(_) => Unexpected::Seq,
            Self::Map(_) => Unexpected::Map,
            Self::Extension => Unexpected::Other("an extension"),
        };
        MessageError::invalid_type(found, expected)
    }
}

/// Reads one message.
pub(super) struct MessageReader<'de> {
    rest: &'de [u8],
    /// Levels that may still be opened.
    depth: usize,
}

type Read<T> = Result<T, MessageError>;

impl<'de> MessageReader<'de> {
    /// Reads from the beginning of `bytes`; fewer than `depth` maps and arrays may stand in each other.
    pub(super) const fn new(bytes: &'de [u8], depth: usize) -> Self {
        Self { rest: bytes, depth }
    }

    fn take(&mut self, len: usize) -> Read<&'de [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(MessageError::Ended)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(MessageError::Ended)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// A number of `bytes` bytes: a length, or a value without a sign.
    fn number(&mut self, bytes: u8) -> Read<u64> {
        Ok(match bytes {
            1 => u8::from_be_bytes(self.array()?).into(),
            2 => u16::from_be_bytes(self.array()?).into(),
            4 => u32::from_be_bytes(self.array()?).into(),
            _ => u64::from_be_bytes(self.array()?),
        })
    }

    fn length(&mut self, bytes: u8) -> Read<u32> {
        self.number(bytes).map(|len| u32::try_from(len).unwrap_or(u32::MAX))
    }

    fn bytes(&mut self, bytes: u8) -> Read<&'de [u8]> {
        let len = self.length(bytes)? as usize;
        self.take(len)
    }

    #[inline(never)]
    fn token(&mut self) -> Read<Token<'de>> {
        let [marker] = self.array()?;
        // How many bytes the length or the value behind the marker has.
        let wide = |first: u8| 1 << (marker - first);
        Ok(match marker {
            0x00..=0x7f => Token::Unsigned(marker.into()),
            0x80..=0x8f => Token::Map((marker & 0x0f).into()),
            0x90..=0x9f => Token::Array((marker & 0x0f).into()),
            0xa0..=0xbf => Token::Text(self.take((marker & 0x1f).into())?),
            0xc0 => Token::Nil,
            0xc1 => return Err(MessageError::Marker(marker)),
            0xc2 | 0xc3 => Token::Bool(marker == 0xc3),
            0xc4..=0xc6 => Token::Binary(self.bytes(wide(0xc4))?),
            0xc7..=0xc9 => {
                let len = self.length(wide(0xc7))? as usize;
                self.extension(len)?
            }
            0xca => Token::Short(f32::from_be_bytes(self.array()?)),
            0xcb => Token::Float(f64::from_be_bytes(self.array()?)),
            0xcc..=0xcf => Token::Unsigned(self.number(wide(0xcc))?),
            0xd0 => Token::Signed(i8::from_be_bytes(self.array()?).into()),
            0xd1 => Token::Signed(i16::from_be_bytes(self.array()?).into()),
            0xd2 => Token::Signed(i32::from_be_bytes(self.array()?).into()),
            0xd3 => Token::Signed(i64::from_be_bytes(self.array()?)),
            0xd4..=0xd8 => self.extension(1 << (marker - 0xd4))?,
            0xd9..=0xdb => Token::Text(self.bytes(wide(0xd9))?),
            0xdc | 0xdd => Token::Array(self.length(2 * wide(0xdc))?),
            0xde | 0xdf => Token::Map(self.length(2 * wide(0xde))?),
            0xe0..=0xff => Token::Signed(i8::from_be_bytes([marker]).into()),
        })
    }

    fn extension(&mut self, len: usize) -> Read<Token<'de>> {
        self.take(1)?;
        self.take(len)?;
        Ok(Token::Extension)
    }

    fn open(&mut self) -> Read<()> {
        self.depth -= 1;
        if self.depth == 0 { Err(MessageError::Depth) } else { Ok(()) }
    }

    /// Passes over a value, whatever it is.
    fn skip(&mut self) -> Read<()> {
        let inside = match self.token()? {
            Token::Array(len) => u64::from(len),
            Token::Map(len) => 2 * u64::from(len),
            _ => return Ok(()),
        };
        self.open()?;
        for _ in 0..inside {
            self.skip()?;
        }
        self.depth += 1;
        Ok(())
    }

    fn visit_array<V: Visitor<'de>>(&mut self, len: u32, visitor: V) -> Read<V::Value> {
        self.open()?;
        let mut entries = Entries { reader: self, left: len };
        let value = visitor.visit_seq(&mut entries)?;
        entries.close()?;
        Ok(value)
    }

    fn visit_map<V: Visitor<'de>>(&mut self, len: u32, visitor: V) -> Read<V::Value> {
        self.open()?;
        let mut entries = Entries { reader: self, left: len };
        let value = visitor.visit_map(&mut entries)?;
        entries.close()?;
        Ok(value)
    }
}

/// Bytes that are no text may still be wanted as bytes.
fn visit_text<'de, V: Visitor<'de>>(bytes: &'de [u8], visitor: V) -> Read<V::Value> {
    match std::str::from_utf8(bytes) {
        Ok(text) => visitor.visit_borrowed_str(text),
        Err(_) => {
            visitor.visit_borrowed_bytes::<MessageError>(bytes).map_err(|_| MessageError::Text)
        }
    }
}

/// What each method of serde reads.
macro_rules! read {
    ($($method:ident)* => $read:ident) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
            self.$read(visitor)
        }
    )*};
}

impl<'de> MessageReader<'de> {
    fn read_bool<V: Visitor<'de>>(&mut self, visitor: V) -> Read<V::Value> {
        match self.token()? {
            Token::Bool(value) => visitor.visit_bool(value),
            other => Err(other.instead_of(&visitor)),
        }
    }

    fn read_integer<V: Visitor<'de>>(&mut self, visitor: V) -> Read<V::Value> {
        match self.token()? {
            Token::Unsigned(value) => visitor.visit_u64(value),
            Token::Signed(value) => visitor.visit_i64(value),
            other => Err(other.instead_of(&visitor)),
        }
    }

    fn read_float<V: Visitor<'de>>(&mut self, visitor: V) -> Read<V::Value> {
        match self.token()? {
            Token::Short(value) => visitor.visit_f32(value),
            Token::Float(value) => visitor.visit_f64(value),
            Token::Unsigned(value) => visitor.visit_u64(value),
            Token::Signed(value) => visitor.visit_i64(value),
            other => Err(other.instead_of(&visitor)),
        }
    }

    fn read_text<V: Visitor<'de>>(&mut self, visitor: V) -> Read<V::Value> {
        match self.token()? {
            Token::Text(bytes) => visit_text(bytes, visitor),
            Token::Binary(bytes) => visitor.visit_borrowed_bytes(bytes),
            other => Err(other.instead_of(&visitor)),
        }
    }

    fn read_identifier<V: Visitor<'de>>(&mut self, visitor: V) -> Read<V::Value> {
        match self.token()? {
            Token::Text(bytes) => visit_text(bytes, visitor),
            other => Err(other.instead_of(&visitor)),
        }
    }

    fn read_unit<V: Visitor<'de>>(&mut self, visitor: V) -> Read<V::Value> {
        match self.token()? {
            Token::Nil => visitor.visit_unit(),
            other => Err(other.instead_of(&visitor)),
        }
    }

    fn read_seq<V: Visitor<'de>>(&mut self, visitor: V) -> Read<V::Value> {
        match self.token()? {
            Token::Array(len) => self.visit_array(len, visitor),
            other => Err(other.instead_of(&visitor)),
        }
    }

    fn read_map<V: Visitor<'de>>(&mut self, visitor: V) -> Read<V::Value> {
        match self.token()? {
            Token::Map(len) => self.visit_map(len, visitor),
            other => Err(other.instead_of(&visitor)),
        }
    }
}

impl<'de> Deserializer<'de> for &mut MessageReader<'de> {
    type Error = MessageError;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        match self.token()? {
            Token::Nil => visitor.visit_unit(),
            Token::Bool(value) => visitor.visit_bool(value),
            Token::Unsigned(value) => visitor.visit_u64(value),
            Token::Signed(value) => visitor.visit_i64(value),
            Token::Short(value) => visitor.visit_f32(value),
            Token::Float(value) => visitor.visit_f64(value),
            Token::Text(bytes) => visit_text(bytes, visitor),
            Token::Binary(bytes) => visitor.visit_borrowed_bytes(bytes),
            Token::Array(len) => self.visit_array(len, visitor),
            Token::Map(len) => self.visit_map(len, visitor),
            other @ Token::Extension => Err(other.instead_of(&visitor)),
        }
    }

    read! { deserialize_bool => read_bool }
    read! { deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 => read_integer }
    read! { deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 => read_integer }
    read! { deserialize_f32 deserialize_f64 => read_float }
    read! { deserialize_str deserialize_string deserialize_char => read_text }
    read! { deserialize_identifier => read_identifier }
    read! { deserialize_unit => read_unit }
    read! { deserialize_seq => read_seq }
    read! { deserialize_map => read_map }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Read<V::Value> {
        self.read_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Read<V::Value> {
        self.read_seq(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Read<V::Value> {
        self.read_map(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Read<V::Value> {
        match self.token()? {
            Token::Nil | Token::Array(0) => visitor.visit_unit(),
            other => Err(other.instead_of(&visitor)),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Read<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        match self.rest.split_first() {
            Some((0xc0, rest)) => {
                self.rest = rest;
                visitor.visit_none()
            }
            _ => visitor.visit_some(self),
        }
    }

    /// A text, or a map of one entry: the variant, and what it holds.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Read<V::Value> {
        let before = self.rest;
        match self.token()? {
            Token::Map(1) => visitor.visit_enum(Variant { reader: self, has_content: true }),
            Token::Text(_) => {
                self.rest = before;
                visitor.visit_enum(Variant { reader: self, has_content: false })
            }
            other => Err(other.instead_of(&visitor)),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Read<V::Value> {
        self.skip()?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { bytes byte_buf }
}

/// What is left of an array or a map.
struct Entries<'a, 'de> {
    reader: &'a mut MessageReader<'de>,
    left: u32,
}

impl Entries<'_, '_> {
    fn next(&mut self) -> bool {
        let is_left = self.left > 0;
        self.left -= u32::from(is_left);
        is_left
    }

    /// All of it must have been taken.
    fn close(self) -> Read<()> {
        self.reader.depth += 1;
        if self.left == 0 { Ok(()) } else { Err(MessageError::Length(self.left)) }
    }

    /// A length is only a claim: every entry takes a byte at least.
    fn hint(&self) -> usize {
        (self.left as usize).min(self.reader.rest.len())
    }
}

impl<'de> SeqAccess<'de> for &mut Entries<'_, 'de> {
    type Error = MessageError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Read<Option<T::Value>> {
        if self.next() { seed.deserialize(&mut *self.reader).map(Some) } else { Ok(None) }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.hint())
    }
}

impl<'de> MapAccess<'de> for &mut Entries<'_, 'de> {
    type Error = MessageError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Read<Option<K::Value>> {
        if self.next() { seed.deserialize(&mut *self.reader).map(Some) } else { Ok(None) }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Read<V::Value> {
        seed.deserialize(&mut *self.reader)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.hint())
    }
}

struct Variant<'a, 'de> {
    reader: &'a mut MessageReader<'de>,
    has_content: bool,
}

impl<'a, 'de> Variant<'a, 'de> {
    fn content(self) -> Read<&'a mut MessageReader<'de>> {
        let missing = || {
            MessageError::invalid_type(Unexpected::UnitVariant, &"a variant that holds something")
        };
        if self.has_content { Ok(self.reader) } else { Err(missing()) }
    }
}

impl<'de> EnumAccess<'de> for Variant<'_, 'de> {
    type Error = MessageError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Read<(V::Value, Self)> {
        let variant = seed.deserialize(&mut *self.reader)?;
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, 'de> {
    type Error = MessageError;

    fn unit_variant(self) -> Read<()> {
        if !self.has_content {
            return Ok(());
        }
        match self.reader.token()? {
            Token::Nil => Ok(()),
            other => Err(other.instead_of(&"nothing")),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Read<T::Value> {
        seed.deserialize(self.content()?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Read<V::Value> {
        self.content()?.read_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Read<V::Value> {
        self.content()?.read_map(visitor)
    }
}
