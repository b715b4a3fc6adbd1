//! Safetensors, and the index of models in several such files.
//!
//! ```text
//! length of the header: u64, little-endian
//! header, in JSON: {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, ...,
//!                   "__metadata__": {"key": "value", ...}}, padded with spaces
//! data, from which offsets count; all of them belong to some tensor, and to one only
//! ```

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};

use super::{Contents, FileError, FileFormat, Kind, Quoted, TensorInfo, Value};
use super::{by_place, byte_length, refuse_overlaps};
use crate::shape::MAX_AXES;

/// The longest header that the format allows.
const LONGEST: usize = 100_000_000;
/// Bytes of the header's length.
const PREFIX: usize = 8;

/// What a tensor's type is, and how many elements lie in how many bytes, where that is known.
fn kind_of(name: &str) -> (Kind, Option<(u64, u64)>) {
    let (kind, bytes) = match name {
        "F64" => (Kind::F64, 8),
        "F32" => (Kind::F32, 4),
        "F16" => (Kind::F16, 2),
        "BF16" => (Kind::BF16, 2),
        "I64" => (Kind::I64, 8),
        "I32" => (Kind::I32, 4),
        "I16" => (Kind::I16, 2),
        "I8" => (Kind::I8, 1),
        "U64" => (Kind::U64, 8),
        "U32" => (Kind::U32, 4),
        "U16" => (Kind::U16, 2),
        "U8" => (Kind::U8, 1),
        "BOOL" => (Kind::Bool, 1),
        _ => {
            let block = match name {
                "F4" => Some((2, 1)),
                "F6_E2M3" | "F6_E3M2" => Some((4, 3)),
                "F8_E5M2" | "F8_E4M3" | "F8_E8M0" | "F8_E4M3FNUZ" | "F8_E5M2FNUZ" => Some((1, 1)),
                "C64" => Some((1, 8)),
                _ => None,
            };
            return (Kind::Unknown(name.to_owned()), block);
        }
    };
    (kind, Some((1, bytes)))
}

/// Reads a whole file.
pub(super) fn read(file: &[u8]) -> Result<Contents, FileError> {
    let Some((prefix, rest)) = file.split_first_chunk::<PREFIX>() else {
        return Err(FileError::new("the header", 0, "the file ends inside the header's length; it is truncated"));
    };
    let claimed = u64::from_le_bytes(*prefix);
    let length = usize::try_from(claimed).ok().filter(|&length| length <= LONGEST).ok_or_else(|| {
        let problem = format!("its length is {claimed} bytes, and {LONGEST} are the most that safetensors allows");
        FileError::new("the header", 0, problem)
    })?;
    let Some((header, data)) = rest.split_at_checked(length) else {
        let problem = format!("its length is {length} bytes, but the file has {} more; it is truncated", rest.len());
        return Err(FileError::new("the header", 0, problem));
    };
    let text = text(header, PREFIX, "the header")?;

    let begin = (PREFIX + length) as u64;
    let mut found = Header { begin, size: file.len() as u64, ..Header::default() };
    let mut json = serde_json::Deserializer::from_str(text);
    if let Err(error) = found.deserialize(&mut json).and_then(|()| json.end()) {
        let field = found.field.take().unwrap_or_else(|| "the header".to_owned());
        return Err(wrong_json(&error, text, PREFIX, field));
    }
    let Header { metadata, tensors, .. } = found;
    refuse_gaps(&tensors, begin, data.len() as u64)?;
    Ok(Contents { format: FileFormat::Safetensors, metadata: metadata.into_pairs(Value::String), tensors })
}

/// Reads `model.safetensors.index.json`: each tensor's name, and the name of the file in which it lies. These are
/// relative to the index, and lead nowhere but beside and below it.
pub fn read_index(bytes: &[u8]) -> Result<Vec<(String, String)>, FileError> {
    #[derive(serde::Deserialize)]
    #[serde(expecting = "an object with a weight_map")]
    struct Index {
        weight_map: Pairs,
    }
    const FIELD: &str = "the index";
    if bytes.len() > LONGEST {
        let problem = format!("it is {} bytes long, and {LONGEST} are the most that are read", bytes.len());
        return Err(FileError::new(FIELD, 0, problem));
    }
    let text = text(bytes, 0, FIELD)?;
    let index: Index = serde_json::from_str(text).map_err(|error| wrong_json(&error, text, 0, FIELD.to_owned()))?;
    let files = index.weight_map.into_pairs(|file| file);
    for (tensor, file) in &files {
        if let Some(problem) = leads_astray(file) {
            let field = format!("the file of tensor {}", Quoted(tensor));
            let place = text.find(file.as_str()).unwrap_or(0);
            return Err(FileError::new(field, place, format!("{} {problem}", Quoted(file))));
        }
    }
    Ok(files)
}

/// What keeps a file's name from being a path below the index on every system, if anything does.
fn leads_astray(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        Some("is no file name")
    } else if path.starts_with(['/', '\\']) || path.contains(':') {
        Some("is an absolute path; files lie beside their index")
    } else if path.split(['/', '\\']).any(|part| part == "..") {
        Some("leads out of the index's folder")
    } else if path.contains(['\\', '\0']) {
        Some("has a character that file names do not have everywhere")
    } else {
        None
    }
}

fn text<'a>(bytes: &'a [u8], offset: usize, field: &str) -> Result<&'a str, FileError> {
    std::str::from_utf8(bytes)
        .map_err(|error| FileError::new(field, offset + error.valid_up_to(), "it is not valid UTF-8"))
}

/// The beginning of a message: those of JSON quote what they find, however long it is.
struct Short(String);

impl fmt::Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        const LONGEST: usize = 300;
        let end = text.floor_char_boundary(LONGEST.saturating_sub(self.0.len()));
        self.0.push_str(&text[..end]);
        if end == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

/// An error of JSON, with lines and columns made into an offset in the file.
fn wrong_json(error: &serde_json::Error, text: &str, offset: usize, field: String) -> FileError {
    let line: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let place = (line + error.column().saturating_sub(1)).min(text.len());
    let mut message = Short(String::new());
    // Where this fails, the message is as long as it may be.
    let _ = fmt::write(&mut message, format_args!("{error}"));
    let problem = message.0.rsplit_once(" at line ").map_or(message.0.as_str(), |(problem, _)| problem).to_owned();
    FileError { field, offset: (offset + place) as u64, problem }
}

/// Refuses data that no tensor claims, and data that several do.
fn refuse_gaps(tensors: &[TensorInfo], begin: u64, length: u64) -> Result<(), FileError> {
    let order = by_place(tensors);
    refuse_overlaps(tensors, &order)?;
    let mut expected = begin;
    let starts = order.iter().map(|&index| (tensors[index].data.start, tensors[index].data.end));
    for (start, end) in starts.chain([(begin + length, begin + length)]) {
        if start > expected {
            return Err(FileError {
                field: "the data".to_owned(),
                offset: expected,
                problem: format!("no tensor claims bytes {expected} to {start}; safetensors has no gaps"),
            });
        }
        expected = end;
    }
    Ok(())
}

/// Strings by strings, in one text: what a file packs into a few bytes each does not become lists many times its size.
#[derive(Default)]
struct Pairs {
    text: String,
    /// Where each key and each value end in the text.
    ends: Vec<(u32, u32)>,
}

impl Pairs {
    fn get(&self, index: usize) -> (&str, &str) {
        let begin = index.checked_sub(1).map_or(0, |before| self.ends[before].1) as usize;
        let (key, value) = self.ends[index];
        (&self.text[begin..key as usize], &self.text[key as usize..value as usize])
    }

    /// A key that occurs more than once.
    fn repeated(&self) -> Option<&str> {
        let mut order: Vec<u32> = (0..self.ends.len() as u32).collect();
        order.sort_unstable_by_key(|&index| self.get(index as usize).0);
        order.array_windows().find_map(|&[a, b]| {
            let key = self.get(a as usize).0;
            (key == self.get(b as usize).0).then_some(key)
        })
    }

    fn into_pairs<T>(self, value: impl Fn(String) -> T) -> Vec<(String, T)> {
        let pairs = (0..self.ends.len()).map(|index| self.get(index));
        pairs.map(|(key, text)| (key.to_owned(), value(text.to_owned()))).collect()
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Strings;
        impl<'de> Visitor<'de> for Strings {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Pairs::default();
                while let Some((key, value)) = map.next_entry::<String, String>()? {
                    pairs.text.push_str(&key);
                    // Texts are shorter than the longest header.
                    let end = pairs.text.len() as u32;
                    pairs.text.push_str(&value);
                    pairs.ends.push((end, pairs.text.len() as u32));
                }
                match pairs.repeated() {
                    Some(key) => Err(A::Error::custom(format!("the key {} occurs more than once", Quoted(key)))),
                    None => Ok(pairs),
                }
            }
        }
        deserializer.deserialize_map(Strings)
    }
}

/// A tensor as the header has it. What else there is about it is ignored, as the format's own reader does.
#[derive(serde::Deserialize)]
#[serde(expecting = "an object with dtype, shape and data_offsets")]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// What has been read of the header.
#[derive(Default)]
struct Header {
    /// Where the data begin in the file.
    begin: u64,
    /// Bytes of the file.
    size: u64,
    /// What is being read, unless it is the header itself.
    field: Option<String>,
    metadata: Pairs,
    tensors: Vec<TensorInfo>,
}

impl Header {
    fn tensor(&self, name: String, entry: Entry) -> Result<TensorInfo, String> {
        let Entry { dtype, shape, data_offsets: (begin, end) } = entry;
        if shape.len() > MAX_AXES {
            return Err(format!("it has {} axes, and {MAX_AXES} are the most", shape.len()));
        }
        let (kind, block) = kind_of(&dtype);
        let lengths: Option<Vec<usize>> =
            shape.iter().map(|&length| isize::try_from(length).ok().map(isize::cast_unsigned)).collect();
        let (elements, bytes) = block.unwrap_or((1, 1));
        let Some((shape, length)) =
            lengths.and_then(|shape| byte_length(&shape, elements, bytes).map(|length| (shape, length)))
        else {
            return Err(format!("its shape {shape:?} has more elements than any memory holds"));
        };
        let available = self.size - self.begin;
        if end < begin {
            return Err(format!("its data end at offset {end}, before they begin at {begin}"));
        }
        if end > available {
            let end = u128::from(self.begin) + u128::from(end);
            return Err(format!("its data end at byte {end}, but the file has {}; it is truncated", self.size));
        }
        if block.is_some() && end - begin != length {
            let given = end - begin;
            return Err(format!("its shape {shape:?} of {dtype} takes {length} bytes, but its offsets have {given}"));
        }
        Ok(TensorInfo { name, shape, kind, data: self.begin + begin..self.begin + end })
    }
}

impl<'de> DeserializeSeed<'de> for &mut Header {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Header {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with an entry for each tensor")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        const METADATA: &str = "__metadata__";
        let mut names = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            let metadata = name == METADATA;
            self.field = Some(if metadata { METADATA.to_owned() } else { format!("tensor {}", Quoted(&name)) });
            if metadata {
                self.metadata = map.next_value::<Option<Pairs>>()?.unwrap_or_default();
            } else {
                let entry = map.next_value()?;
                self.tensors.push(self.tensor(name.clone(), entry).map_err(A::Error::custom)?);
            }
            if !names.insert(name) {
                return Err(A::Error::custom("an earlier entry has the same name"));
            }
            self.field = None;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn file(header: &str, data: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    }

    /// A file with a bit of everything.
    pub(in super::super) fn sample() -> Vec<u8> {
        let header = r#"{"__metadata__":{"format":"pt","\u00fc":"\n"},
            "late":{"dtype":"F32","shape":[2,3],"data_offsets":[13,37]},
            "early":{"data_offsets":[0,10],"dtype":"BF16","shape":[5],"note":[{"ignored":null}]},
            "new":{"dtype":"Z9","shape":[4,4],"data_offsets":[10,12]},
            "scalar":{"dtype":"BOOL","shape":[],"data_offsets":[12,13]},
            "half bytes":{"dtype":"F4","shape":[2,2],"data_offsets":[37,39]},
            "empty":{"dtype":"I64","shape":[7,0],"data_offsets":[13,13]}}   "#;
        file(header, 39)
    }

    #[test]
    fn everything_is_read() {
        let file = sample();
        let contents = super::super::read(&file).unwrap();
        assert_eq!(contents.format, FileFormat::Safetensors);
        assert_eq!(
            contents.metadata,
            [("format".into(), Value::String("pt".into())), ("ü".into(), Value::String("\n".into()))]
        );
        let base = (file.len() - 39) as u64;
        let tensors: Vec<_> = contents
            .tensors
            .iter()
            .map(|t| (t.name.as_str(), &t.shape[..], t.kind.to_string(), t.data.start - base..t.data.end - base))
            .collect();
        assert_eq!(
            tensors,
            [
                ("late", &[2, 3][..], "float32".to_owned(), 13..37),
                ("early", &[5], "bfloat16".to_owned(), 0..10),
                ("new", &[4, 4], "Z9".to_owned(), 10..12),
                ("scalar", &[], "bool".to_owned(), 12..13),
                ("half bytes", &[2, 2], "F4".to_owned(), 37..39),
                ("empty", &[7, 0], "int64".to_owned(), 13..13),
            ]
        );
    }

    #[test]
    fn small_files_are_read() {
        for header in ["{}", "{ }   ", r#"{"__metadata__":{}}"#, r#"{"__metadata__":null}"#] {
            let contents = read(&file(header, 0)).unwrap();
            assert!(contents.metadata.is_empty() && contents.tensors.is_empty());
        }
    }

    #[track_caller]
    fn fails(file: &[u8], message: &str) {
        assert_eq!(read(file).unwrap_err().to_string(), message);
    }

    #[test]
    fn headers_are_checked() {
        fails(b"1234567", "the header at byte 0: the file ends inside the header's length; it is truncated");
        fails(
            &[0xff; 9],
            "the header at byte 0: its length is 18446744073709551615 bytes, \
             and 100000000 are the most that safetensors allows",
        );
        fails(
            &file("{}", 0)[..9],
            "the header at byte 0: its length is 2 bytes, but the file has 1 more; it is truncated",
        );
        let mut bytes = file(r#"{"a":{}}"#, 0);
        bytes[10] = 0xff;
        fails(&bytes, "the header at byte 10: it is not valid UTF-8");
        fails(&file("", 0), "the header at byte 8: EOF while parsing a value");
        fails(
            &file("[]", 0),
            "the header at byte 8: invalid type: sequence, expected an object with an entry for each tensor",
        );
        fails(&file("{}x", 0), "the header at byte 10: trailing characters");
        fails(&file("{", 0), "the header at byte 8: EOF while parsing an object");
        fails(
            &file(r#"{"__metadata__":{"a":1}}"#, 0),
            "__metadata__ at byte 29: invalid type: integer `1`, expected a string",
        );
        fails(
            &file(r#"{"__metadata__":{"b":"1","a":"2","b":"3"}}"#, 0),
            "__metadata__ at byte 48: the key 'b' occurs more than once",
        );
        fails(
            &file(r#"{"__metadata__":{},"__metadata__":{}}"#, 0),
            "__metadata__ at byte 44: an earlier entry has the same name",
        );
        let deep = format!(r#"{{"a":{}"#, "[".repeat(100_000));
        fails(&file(&deep, 0), "tensor 'a' at byte 13: invalid type: sequence, expected a string");
    }

    #[test]
    fn tensors_are_checked() {
        let tensor = |text: &str| file(&format!("{{\n\"a\":{text}}}"), 4);
        let entry = |dtype: &str, shape: &str, offsets: &str| {
            tensor(&format!(r#"{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}"#))
        };
        fails(
            &tensor("1"),
            "tensor 'a' at byte 14: invalid type: integer `1`, expected an object with dtype, shape and data_offsets",
        );
        fails(&tensor(r#"{"dtype":"F32","shape":[1]}"#), "tensor 'a' at byte 40: missing field `data_offsets`");
        fails(&tensor(r#"{"dtype":"F32","dtype":"F16"}"#), "tensor 'a' at byte 35: duplicate field `dtype`");
        fails(&entry("F32", "[-1]", "[0,4]"), "tensor 'a' at byte 39: invalid value: integer `-1`, expected u64");
        fails(
            &entry("F32", "[1.5]", "[0,4]"),
            "tensor 'a' at byte 40: invalid type: floating point `1.5`, expected u64",
        );
        let long = format!("[\"{}\"]", "x".repeat(1000));
        let message = format!("invalid type: string \"{}", "x".repeat(278));
        assert_eq!(read(&entry("F32", &long, "[0,4]")).unwrap_err().problem, message);
        let many = format!("[{}1]", "1,".repeat(64));
        fails(&entry("F32", &many, "[0,4]"), "tensor 'a' at byte 190: it has 65 axes, and 64 are the most");
        for shape in ["[4294967296, 4294967296]", "[2305843009213693952]", "[18446744073709551615]"] {
            let message = read(&entry("F32", shape, "[0,4]")).unwrap_err().problem;
            assert_eq!(message, format!("its shape {shape} has more elements than any memory holds"));
        }
        fails(&entry("F32", "[1]", "[4,0]"), "tensor 'a' at byte 62: its data end at offset 0, before they begin at 4");
        fails(
            &entry("F32", "[2]", "[0,8]"),
            "tensor 'a' at byte 62: its data end at byte 71, but the file has 67; it is truncated",
        );
        fails(
            &entry("F32", "[1]", "[0,18446744073709551615]"),
            "tensor 'a' at byte 81: its data end at byte 18446744073709551697, but the file has 86; it is truncated",
        );
        fails(
            &entry("F16", "[3]", "[0,4]"),
            "tensor 'a' at byte 62: its shape [3] of F16 takes 6 bytes, but its offsets have 4",
        );
        fails(
            &entry("U8", "[3]", "[0,3]"),
            "the data at byte 65: no tensor claims bytes 65 to 66; safetensors has no gaps",
        );
        fails(
            &entry("U8", "[3]", "[1,4]"),
            "the data at byte 62: no tensor claims bytes 62 to 63; safetensors has no gaps",
        );
        let one = r#"{"dtype":"I8","shape":[3],"data_offsets":[0,3]}"#;
        let two = r#"{"dtype":"I8","shape":[2],"data_offsets":[2,4]}"#;
        fails(
            &file(&format!(r#"{{"a":{one},"b":{two}}}"#), 4),
            "tensor 'b' at byte 115: its data begin here, but bytes 113 to 116 belong to tensor 'a'",
        );
        fails(
            &file(&format!(r#"{{"a":{one},"a":{two}}}"#), 4),
            "tensor 'a' at byte 112: an earlier entry has the same name",
        );
    }

    #[test]
    fn indices_are_read() {
        let index = r#"{"metadata":{"total_size":10},"weight_map":{"a":"x-1.safetensors","b":"sub/x..2"}}"#;
        let files = read_index(index.as_bytes()).unwrap();
        assert_eq!(files, [("a".into(), "x-1.safetensors".into()), ("b".into(), "sub/x..2".into())]);
        for (index, message) in [
            ("", "the index at byte 0: EOF while parsing a value"),
            ("{}", "the index at byte 1: missing field `weight_map`"),
            ("\u{fffd}", "the index at byte 0: expected value"),
            (r#"{"weight_map":{"a":["x"]}}"#, "the index at byte 18: invalid type: sequence, expected a string"),
            (r#"{"weight_map":{"a":"x","a":"y"}}"#, "the index at byte 30: the key 'a' occurs more than once"),
        ] {
            assert_eq!(read_index(index.as_bytes()).unwrap_err().to_string(), message);
        }
        for (file, problem) in [
            ("", "is no file name"),
            ("/etc/passwd", "is an absolute path; files lie beside their index"),
            ("C:/x", "is an absolute path; files lie beside their index"),
            ("\\\\host\\x", "is an absolute path; files lie beside their index"),
            ("..", "leads out of the index's folder"),
            ("a/../../x", "leads out of the index's folder"),
            ("a\\..\\x", "leads out of the index's folder"),
            ("a\\x", "has a character that file names do not have everywhere"),
            ("a\0x", "has a character that file names do not have everywhere"),
        ] {
            let index = serde_json::json!({ "weight_map": { "t": file } }).to_string();
            let error = read_index(index.as_bytes()).unwrap_err();
            assert_eq!(error.field, "the file of tensor 't'");
            assert_eq!(error.problem, format!("{} {problem}", Quoted(file)));
        }
        assert_eq!(read_index(b"\xff").unwrap_err().to_string(), "the index at byte 0: it is not valid UTF-8");
    }
}
