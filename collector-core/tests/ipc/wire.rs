//! The wire format, from its description alone: nothing here is the server's.

/// A message that is being written, field by field.
#[derive(Debug, Clone, Default)]
pub(crate) struct Message(pub(crate) Vec<u8>);

impl Message {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn put_varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push(0x80 | (value & 0x7f) as u8);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn key(&mut self, field: u64, wire_type: u64) {
        self.put_varint(field << 3 | wire_type);
    }

    pub(crate) fn varint(mut self, field: u64, value: u64) -> Self {
        self.key(field, 0);
        self.put_varint(value);
        self
    }

    pub(crate) fn double(mut self, field: u64, value: f64) -> Self {
        self.key(field, 1);
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(crate) fn bytes(mut self, field: u64, value: &[u8]) -> Self {
        self.key(field, 2);
        self.put_varint(value.len() as u64);
        self.0.extend(value);
        self
    }

    pub(crate) fn text(self, field: u64, value: &str) -> Self {
        self.bytes(field, value.as_bytes())
    }

    pub(crate) fn texts(self, field: u64, values: &[&str]) -> Self {
        values.iter().fold(self, |message, value| message.text(field, value))
    }

    pub(crate) fn message(self, field: u64, value: Message) -> Self {
        self.bytes(field, &value.0)
    }

    /// An entry of a `map<string, double>`.
    pub(crate) fn entry(self, field: u64, key: &str, value: f64) -> Self {
        self.message(field, Message::new().text(1, key).double(2, value))
    }
}

/// A message that was received.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fields(Vec<(u64, Field)>);

#[derive(Debug, Clone)]
enum Field {
    Number(u64),
    Bytes(Vec<u8>),
}

impl Fields {
    pub(crate) fn parse(mut bytes: &[u8]) -> Self {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = take_varint(&mut bytes);
            let value = match key & 7 {
                0 => Field::Number(take_varint(&mut bytes)),
                1 => Field::Number(u64::from_le_bytes(take(&mut bytes, 8).try_into().unwrap())),
                2 => {
                    let length = take_varint(&mut bytes) as usize;
                    Field::Bytes(take(&mut bytes, length).to_vec())
                }
                other => panic!("wire type {other}"),
            };
            fields.push((key >> 3, value));
        }
        Self(fields)
    }

    fn all(&self, field: u64) -> impl Iterator<Item = &Field> {
        self.0.iter().filter(move |(number, _)| *number == field).map(|(_, value)| value)
    }

    pub(crate) fn has(&self, field: u64) -> bool {
        self.all(field).next().is_some()
    }

    /// A number; absent is 0, as in proto3.
    pub(crate) fn number(&self, field: u64) -> u64 {
        match self.all(field).last() {
            None => 0,
            Some(Field::Number(value)) => *value,
            Some(other) => panic!("field {field} is {other:?}"),
        }
    }

    pub(crate) fn double(&self, field: u64) -> f64 {
        f64::from_bits(self.number(field))
    }

    pub(crate) fn is(&self, field: u64) -> bool {
        self.number(field) == 1
    }

    pub(crate) fn texts(&self, field: u64) -> Vec<String> {
        let text = |value: &Field| match value {
            Field::Bytes(bytes) => String::from_utf8(bytes.clone()).unwrap(),
            Field::Number(_) => panic!("field {field} is a number"),
        };
        self.all(field).map(text).collect()
    }

    pub(crate) fn text(&self, field: u64) -> String {
        self.texts(field).pop().unwrap_or_default()
    }

    pub(crate) fn messages(&self, field: u64) -> Vec<Self> {
        let message = |value: &Field| match value {
            Field::Bytes(bytes) => Self::parse(bytes),
            Field::Number(_) => panic!("field {field} is a number"),
        };
        self.all(field).map(message).collect()
    }

    pub(crate) fn message(&self, field: u64) -> Self {
        self.messages(field).pop().unwrap_or_default()
    }

    /// A packed list of numbers.
    pub(crate) fn numbers(&self, field: u64) -> Vec<u64> {
        let mut numbers = Vec::new();
        for value in self.all(field) {
            match value {
                Field::Number(value) => numbers.push(*value),
                Field::Bytes(bytes) => {
                    let mut bytes = &bytes[..];
                    while !bytes.is_empty() {
                        numbers.push(take_varint(&mut bytes));
                    }
                }
            }
        }
        numbers
    }
}

fn take<'b>(bytes: &mut &'b [u8], count: usize) -> &'b [u8] {
    let (taken, rest) = bytes.split_at(count);
    *bytes = rest;
    taken
}

fn take_varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return value;
        }
    }
    panic!("a number without an end")
}

/// CRC-32C, bit by bit: reflected polynomial 0x82f63b78.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

pub(crate) fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_le_bytes().to_vec();
    frame.extend(crc32c(payload).to_le_bytes());
    frame.extend(payload);
    frame
}
