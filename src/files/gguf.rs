//! GGUF, versions 2 and 3, little-endian.
//!
//! ```text
//! "GGUF", version: u32, tensors: u64, entries of metadata: u64
//! each entry:  key: string, type: u32, value
//! each tensor: name: string, axes: u32, lengths: u64 each (contiguous axis first), type: u32, offset: u64
//! padding to the alignment, then the tensors' data, from which offsets count
//! ```
//!
//! A string is its length (u64) and its bytes; an array is its elements' type (u32), their count (u64) and they. What
//! files do in practice, and is accepted: tensors in any order and with gaps, no padding after the last, tensors
//! without elements, of which the offset may lie beyond the end, and no tensors, metadata or padding at all.

use std::collections::HashSet;
use std::fmt;

use super::{Array, Contents, Element, FileError, FileFormat, Kind, Quoted, TensorInfo, Value};
use super::{by_place, byte_length, refuse_overlaps};
use crate::shape::MAX_AXES;

/// Where `general.alignment` says nothing else.
const ALIGNMENT: u64 = 32;
/// Arrays in arrays, at most: the format sets no bound, files have no more than one.
const NESTING: usize = 4;
/// The fewest bytes of an entry of metadata: an empty key and a byte.
const SMALLEST_ENTRY: u64 = 8 + 4 + 1;
/// The fewest bytes of a tensor: an empty name and no axes.
const SMALLEST_TENSOR: u64 = 8 + 4 + 4 + 8;
/// The fewest bytes of an array.
const SMALLEST_ARRAY: u64 = 4 + 8;

/// A type of quantised blocks.
pub(super) struct Block {
    number: u32,
    pub(super) name: &'static str,
    /// Elements of a block, all of one row.
    elements: u64,
    /// Bytes of a block.
    bytes: u64,
}

/// All of ggml's, whether anything here decodes them or not. 42 is missing: its size differs among the programs that
/// write it.
#[rustfmt::skip]
const BLOCKS: [Block; 32] = [
    Block { number:  2, name: "q4_0",       elements:  32, bytes:  18 },
    Block { number:  3, name: "q4_1",       elements:  32, bytes:  20 },
    Block { number:  6, name: "q5_0",       elements:  32, bytes:  22 },
    Block { number:  7, name: "q5_1",       elements:  32, bytes:  24 },
    Block { number:  8, name: "q8_0",       elements:  32, bytes:  34 },
    Block { number:  9, name: "q8_1",       elements:  32, bytes:  40 },
    Block { number: 10, name: "q2_k",       elements: 256, bytes:  84 },
    Block { number: 11, name: "q3_k",       elements: 256, bytes: 110 },
    Block { number: 12, name: "q4_k",       elements: 256, bytes: 144 },
    Block { number: 13, name: "q5_k",       elements: 256, bytes: 176 },
    Block { number: 14, name: "q6_k",       elements: 256, bytes: 210 },
    Block { number: 15, name: "q8_k",       elements: 256, bytes: 292 },
    Block { number: 16, name: "iq2_xxs",    elements: 256, bytes:  66 },
    Block { number: 17, name: "iq2_xs",     elements: 256, bytes:  74 },
    Block { number: 18, name: "iq3_xxs",    elements: 256, bytes:  98 },
    Block { number: 19, name: "iq1_s",      elements: 256, bytes:  50 },
    Block { number: 20, name: "iq4_nl",     elements:  32, bytes:  18 },
    Block { number: 21, name: "iq3_s",      elements: 256, bytes: 110 },
    Block { number: 22, name: "iq2_s",      elements: 256, bytes:  82 },
    Block { number: 23, name: "iq4_xs",     elements: 256, bytes: 136 },
    Block { number: 29, name: "iq1_m",      elements: 256, bytes:  56 },
    Block { number: 31, name: "q4_0_4_4",   elements:  32, bytes:  18 },
    Block { number: 32, name: "q4_0_4_8",   elements:  32, bytes:  18 },
    Block { number: 33, name: "q4_0_8_8",   elements:  32, bytes:  18 },
    Block { number: 34, name: "tq1_0",      elements: 256, bytes:  54 },
    Block { number: 35, name: "tq2_0",      elements: 256, bytes:  66 },
    Block { number: 36, name: "iq4_nl_4_4", elements:  32, bytes:  18 },
    Block { number: 37, name: "iq4_nl_4_8", elements:  32, bytes:  18 },
    Block { number: 38, name: "iq4_nl_8_8", elements:  32, bytes:  18 },
    Block { number: 39, name: "mxfp4",      elements:  32, bytes:  17 },
    Block { number: 40, name: "nvfp4",      elements:  64, bytes:  36 },
    Block { number: 41, name: "q1_0",       elements: 128, bytes:  18 },
];

/// The type of blocks of this number.
pub(super) fn block(number: u32) -> Option<&'static Block> {
    BLOCKS.iter().find(|block| block.number == number)
}

/// What a type is called that has no name here.
pub(super) fn unknown(number: u32) -> String {
    format!("GGUF type {number}")
}

/// What a tensor's type is, and how many elements lie in how many bytes, where that is known.
fn kind_of(number: u32) -> (Kind, Option<(u64, u64)>) {
    let (kind, bytes) = match number {
        0 => (Kind::F32, 4),
        1 => (Kind::F16, 2),
        24 => (Kind::I8, 1),
        25 => (Kind::I16, 2),
        26 => (Kind::I32, 4),
        27 => (Kind::I64, 8),
        28 => (Kind::F64, 8),
        30 => (Kind::BF16, 2),
        _ => {
            return match block(number) {
                Some(block) => (Kind::Quantised(number), Some((block.elements, block.bytes))),
                None => (Kind::Unknown(unknown(number)), None),
            };
        }
    };
    (kind, Some((1, bytes)))
}

impl Element {
    const fn of_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::U8,
            1 => Self::I8,
            2 => Self::U16,
            3 => Self::I16,
            4 => Self::U32,
            5 => Self::I32,
            6 => Self::F32,
            7 => Self::Bool,
            8 => Self::String,
            9 => Self::Array,
            10 => Self::U64,
            11 => Self::I64,
            12 => Self::F64,
            _ => return None,
        })
    }
}

/// What is being read, for messages.
#[derive(Clone, Copy)]
enum Field<'a> {
    Header,
    /// An entry of metadata whose key is not known yet: its place, and how many there are.
    Entry(u64, u64),
    Metadata(&'a str),
    /// A tensor whose name is not known yet: its place, and how many there are.
    Number(u64, u64),
    Tensor(&'a str),
}

impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("the header"),
            Self::Entry(index, count) => write!(f, "metadata entry {} of {count}", index + 1),
            Self::Metadata(key) => write!(f, "metadata {}", Quoted(key)),
            Self::Number(index, count) => write!(f, "tensor {} of {count}", index + 1),
            Self::Tensor(name) => write!(f, "tensor {}", Quoted(name)),
        }
    }
}

/// A place in the file, at most its end.
struct Cursor<'a> {
    file: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    const fn left(&self) -> usize {
        self.file.len() - self.at
    }

    fn bytes(&mut self, length: u64, field: Field<'_>, part: &str) -> Result<&'a [u8], FileError> {
        let left = self.left();
        let Some(end) = usize::try_from(length).ok().filter(|&length| length <= left).map(|length| self.at + length)
        else {
            let problem =
                format!("{part} needs {length} bytes, but the file ends after {left}; it is truncated or damaged");
            return Err(FileError::new(field, self.at, problem));
        };
        let bytes = &self.file[self.at..end];
        self.at = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self, field: Field<'_>, part: &str) -> Result<[u8; N], FileError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N as u64, field, part)?);
        Ok(array)
    }

    fn u32(&mut self, field: Field<'_>, part: &str) -> Result<u32, FileError> {
        self.array(field, part).map(u32::from_le_bytes)
    }

    fn u64(&mut self, field: Field<'_>, part: &str) -> Result<u64, FileError> {
        self.array(field, part).map(u64::from_le_bytes)
    }

    /// A count of things of at least `smallest` bytes each, no more than there are bytes for.
    fn count(&mut self, smallest: u64, field: Field<'_>, part: &str) -> Result<usize, FileError> {
        let at = self.at;
        let count = self.u64(field, part)?;
        let room = self.left() as u64 / smallest;
        if count > room {
            let problem = format!("{part} is {count}, but the rest of the file has room for {room} at most");
            return Err(FileError::new(field, at, problem));
        }
        Ok(count as usize)
    }

    fn string(&mut self, field: Field<'_>, part: &str) -> Result<&'a [u8], FileError> {
        let length = self.u64(field, part)?;
        self.bytes(length, field, part)
    }

    /// A name, which must be UTF-8.
    fn name(&mut self, field: Field<'_>, part: &str) -> Result<&'a str, FileError> {
        let bytes = self.string(field, part)?;
        std::str::from_utf8(bytes).map_err(|error| {
            let offset = self.at - bytes.len() + error.valid_up_to();
            FileError::new(field, offset, format!("{part} is not valid UTF-8"))
        })
    }

    fn element(&mut self, field: Field<'_>, part: &str) -> Result<Element, FileError> {
        let at = self.at;
        let number = self.u32(field, part)?;
        Element::of_number(number)
            .ok_or_else(|| FileError::new(field, at, format!("{part} is {number}, which GGUF does not have (0 to 12)")))
    }

    fn value(&mut self, field: Field<'_>) -> Result<Value, FileError> {
        const PART: &str = "its value";
        Ok(match self.element(field, "its type")? {
            Element::U8 => Value::U8(u8::from_le_bytes(self.array(field, PART)?)),
            Element::I8 => Value::I8(i8::from_le_bytes(self.array(field, PART)?)),
            Element::U16 => Value::U16(u16::from_le_bytes(self.array(field, PART)?)),
            Element::I16 => Value::I16(i16::from_le_bytes(self.array(field, PART)?)),
            Element::U32 => Value::U32(u32::from_le_bytes(self.array(field, PART)?)),
            Element::I32 => Value::I32(i32::from_le_bytes(self.array(field, PART)?)),
            Element::F32 => Value::F32(f32::from_le_bytes(self.array(field, PART)?)),
            Element::U64 => Value::U64(u64::from_le_bytes(self.array(field, PART)?)),
            Element::I64 => Value::I64(i64::from_le_bytes(self.array(field, PART)?)),
            Element::F64 => Value::F64(f64::from_le_bytes(self.array(field, PART)?)),
            Element::Bool => {
                let at = self.at;
                let bytes = self.bytes(1, field, PART)?;
                check_bools(bytes, field, at)?;
                Value::Bool(bytes == [1])
            }
            Element::String => {
                let bytes = self.string(field, PART)?;
                std::str::from_utf8(bytes)
                    .map_or_else(|_| Value::Bytes(bytes.into()), |text| Value::String(text.into()))
            }
            Element::Array => Value::Array(self.list(field, NESTING)?),
        })
    }

    /// An array, of which no more than `depth` may lie in one another. Its elements are checked, and left where they
    /// lie.
    fn list(&mut self, field: Field<'_>, depth: usize) -> Result<Array, FileError> {
        let begin = self.at;
        let Some(depth) = depth.checked_sub(1) else {
            return Err(FileError::new(field, begin, format!("more than {NESTING} arrays lie in one another")));
        };
        let element = self.element(field, "its elements' type")?;
        let smallest = match element {
            Element::String => 8,
            Element::Array => SMALLEST_ARRAY,
            _ => element.size().unwrap_or(1) as u64,
        };
        let count = self.count(smallest, field, "its count of elements")?;
        let start = self.at;
        match element {
            Element::String => {
                for _ in 0..count {
                    self.string(field, "an element of it")?;
                }
            }
            Element::Array => {
                for _ in 0..count {
                    self.list(field, depth)?;
                }
            }
            // The count has been checked against the bytes that are left.
            _ => {
                let elements = self.bytes(count as u64 * smallest, field, "its elements")?;
                if element == Element::Bool {
                    check_bools(elements, field, start)?;
                }
            }
        }
        Ok(Array { element, count, data: start..self.at })
    }
}

fn check_bools(bytes: &[u8], field: Field<'_>, at: usize) -> Result<(), FileError> {
    match bytes.iter().position(|&byte| byte > 1) {
        None => Ok(()),
        Some(place) => {
            let problem = format!("it has {} where a bool has 0 or 1; the file is damaged", bytes[place]);
            Err(FileError::new(field, at + place, problem))
        }
    }
}

/// The elements of an array of strings.
pub(super) fn strings<'a>(array: &Array, file: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let count = if array.element == Element::String { array.count } else { 0 };
    let mut cursor = Cursor { file: array.bytes(file), at: 0 };
    (0..count).map_while(move |_| cursor.string(Field::Header, "a string").ok())
}

/// The elements of an array of arrays.
pub(super) fn arrays<'a>(array: &Array, file: &'a [u8]) -> impl Iterator<Item = Array> + use<'a> {
    let count = if array.element == Element::Array { array.count } else { 0 };
    let mut cursor = Cursor { file: file.get(..array.data.end).unwrap_or_default(), at: 0 };
    cursor.at = array.data.start.min(cursor.file.len());
    (0..count).map_while(move |_| cursor.list(Field::Header, NESTING).ok())
}

/// A tensor of which everything is known but where the data of all tensors begin.
struct Entry<'a> {
    name: &'a str,
    shape: Vec<usize>,
    kind: Kind,
    /// `None` of unknown kinds.
    length: Option<u64>,
    offset: u64,
    /// Where the offset stands in the file.
    at: usize,
}

/// Reads a file that begins with the magic number.
pub(super) fn read(file: &[u8]) -> Result<Contents, FileError> {
    let mut cursor = Cursor { file, at: 4 };
    let version = read_version(&mut cursor)?;
    let tensors = cursor.count(SMALLEST_TENSOR, Field::Header, "the count of tensors")?;
    let entries = cursor.count(SMALLEST_ENTRY, Field::Header, "the count of metadata")?;

    let (metadata, alignment) = read_metadata(&mut cursor, entries)?;
    // The metadata have taken their share of the bytes that the count was checked against.
    if tensors as u64 > cursor.left() as u64 / SMALLEST_TENSOR {
        let problem = format!("{tensors} tensors are to follow, but no more than {} bytes do", cursor.left());
        return Err(FileError::new("the list of tensors", cursor.at, problem));
    }
    // A count is only a claim: room is made as tensors are found.
    let mut list = Vec::new();
    let mut names = HashSet::new();
    for index in 0..tensors as u64 {
        let begin = cursor.at;
        let entry = read_tensor(&mut cursor, Field::Number(index, tensors as u64))?;
        if !names.insert(entry.name) {
            return Err(FileError::new(Field::Tensor(entry.name), begin, "an earlier tensor has the same name"));
        }
        list.push(entry);
    }
    drop(names);
    let tensors = place(list, cursor.at as u64, alignment, file.len() as u64)?;
    Ok(Contents { format: FileFormat::Gguf { version }, metadata, tensors })
}

fn read_version(cursor: &mut Cursor<'_>) -> Result<u32, FileError> {
    let at = cursor.at;
    let version = cursor.u32(Field::Header, "the version")?;
    let problem = match version {
        2 | 3 => return Ok(version),
        0 => "the version is 0; the file is damaged".to_owned(),
        1 => "this is GGUF version 1, of which few files were ever made; convert it to version 3".to_owned(),
        _ if version.trailing_zeros() >= 16 => {
            "the file is big-endian; convert it to little-endian (`gguf-convert-endian` does)".to_owned()
        }
        _ => format!("this is GGUF version {version}, and only 2 and 3 can be read"),
    };
    Err(FileError::new(Field::Header, at, problem))
}

type Metadata = Vec<(String, Value)>;

/// The metadata, and the alignment that they ask for.
fn read_metadata(cursor: &mut Cursor<'_>, count: usize) -> Result<(Metadata, u64), FileError> {
    let mut metadata = Vec::new();
    let mut keys = HashSet::new();
    let mut alignment = ALIGNMENT;
    for index in 0..count as u64 {
        let begin = cursor.at;
        let key = cursor.name(Field::Entry(index, count as u64), "its key")?;
        let field = Field::Metadata(key);
        if !keys.insert(key) {
            return Err(FileError::new(field, begin, "an earlier entry has the same key"));
        }
        let at = cursor.at;
        let value = cursor.value(field)?;
        if key == "general.alignment" {
            alignment = match value {
                Value::U32(value) if value.is_power_of_two() => value.into(),
                Value::U32(value) => {
                    let problem = format!("the alignment is {value}, which is not a power of two");
                    return Err(FileError::new(field, at + 4, problem));
                }
                _ => return Err(FileError::new(field, at, "the alignment must be an unsigned 32-bit integer")),
            };
        }
        metadata.push((key.to_owned(), value));
    }
    Ok((metadata, alignment))
}

fn read_tensor<'a>(cursor: &mut Cursor<'a>, number: Field<'_>) -> Result<Entry<'a>, FileError> {
    let name = cursor.name(number, "its name")?;
    let field = Field::Tensor(name);
    let begin = cursor.at;
    let axes = cursor.u32(field, "its count of axes")? as usize;
    if axes > MAX_AXES {
        return Err(FileError::new(field, begin, format!("it has {axes} axes, and {MAX_AXES} are the most")));
    }
    let mut shape = Vec::with_capacity(axes);
    for axis in 0..axes {
        let at = cursor.at;
        let length = cursor.u64(field, "the length of an axis")?;
        let Some(length) = isize::try_from(length).ok().map(isize::cast_unsigned) else {
            let problem = format!("axis {} is {length} long, more than any memory holds", axes - 1 - axis);
            return Err(FileError::new(field, at, problem));
        };
        shape.push(length);
    }
    shape.reverse();
    let at = cursor.at;
    let (kind, block) = kind_of(cursor.u32(field, "its type")?);
    let row = shape.last().map_or(1, |&row| row as u64);
    if let Some((elements, _)) = block
        && row % elements != 0
    {
        let problem = format!("its rows have {row} elements, but {kind} has blocks of {elements}");
        return Err(FileError::new(field, at, problem));
    }
    let (elements, bytes) = block.unwrap_or((1, 1));
    let Some(length) = byte_length(&shape, elements, bytes) else {
        let problem = format!("its shape {shape:?} has more elements than any memory holds");
        return Err(FileError::new(field, begin, problem));
    };
    let at = cursor.at;
    let offset = cursor.u64(field, "its offset")?;
    // Without elements there are no bytes, whatever the kind.
    let length = if block.is_some() || length == 0 { Some(length) } else { None };
    Ok(Entry { name, shape, kind, length, offset, at })
}

/// Finds the tensors' bytes in a file of `size` bytes whose header ends at `header`.
fn place(list: Vec<Entry<'_>>, header: u64, alignment: u64, size: u64) -> Result<Vec<TensorInfo>, FileError> {
    // Headers are shorter than memory and alignments than 2^32, so this cannot wrap.
    let base = header.next_multiple_of(alignment);
    let padded = size.next_multiple_of(alignment);
    let mut tensors = Vec::with_capacity(list.len());
    let mut unknown = Vec::new();
    for entry in list {
        let Entry { name, shape, kind, length, offset, at } = entry;
        let fail = |problem| Err(FileError::new(Field::Tensor(name), at, problem));
        if offset % alignment != 0 {
            return fail(format!("its offset is {offset}, which is not a multiple of the alignment, {alignment}"));
        }
        let Some((start, end)) =
            base.checked_add(offset).and_then(|start| Some((start, start.checked_add(length.unwrap_or(0))?)))
        else {
            return fail(format!("its offset is {offset}, which is outside of any file"));
        };
        match length {
            // Padding that was left out may be all that an offset points to.
            Some(0) if start <= padded => {}
            Some(1..) if end <= size => {}
            None if start <= size => unknown.push(tensors.len()),
            Some(1..) if start < size => {
                return fail(format!("its data end at byte {end}, but the file has {size}; it is truncated"));
            }
            _ => return fail(format!("its data begin at byte {start}, but the file has {size}; it is truncated")),
        }
        let data = start.min(size)..end.min(size);
        tensors.push(TensorInfo { name: name.to_owned(), shape, kind, data });
    }
    if !unknown.is_empty() {
        let mut starts: Vec<u64> = tensors.iter().map(|tensor| tensor.data.start).collect();
        starts.sort_unstable();
        for index in unknown {
            let data = &mut tensors[index].data;
            let next = starts.partition_point(|&start| start <= data.start);
            data.end = starts.get(next).copied().unwrap_or(size);
        }
    }
    refuse_overlaps(&tensors, &by_place(&tensors))?;
    Ok(tensors)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Bytes of a file in the making.
    #[derive(Clone, Default)]
    struct File(Vec<u8>);

    impl File {
        fn new(version: u32, tensors: u64, metadata: u64) -> Self {
            Self(b"GGUF".to_vec()).u32(version).u64(tensors).u64(metadata)
        }

        fn bytes(mut self, bytes: &[u8]) -> Self {
            self.0.extend(bytes);
            self
        }

        fn u32(self, value: u32) -> Self {
            self.bytes(&value.to_le_bytes())
        }

        fn u64(self, value: u64) -> Self {
            self.bytes(&value.to_le_bytes())
        }

        fn string(self, text: &str) -> Self {
            self.u64(text.len() as u64).bytes(text.as_bytes())
        }

        /// A tensor, its axes in the file's order.
        fn tensor(self, name: &str, axes: &[u64], kind: u32, offset: u64) -> Self {
            let begun = self.string(name).u32(axes.len() as u32);
            axes.iter().fold(begun, |file, &axis| file.u64(axis)).u32(kind).u64(offset)
        }

        /// Zeros up to the alignment, and so many more.
        fn data(mut self, bytes: usize) -> Self {
            self.0.resize(self.0.len().next_multiple_of(32) + bytes, 0);
            self
        }

        fn read(&self) -> Result<Contents, FileError> {
            super::super::read(&self.0)
        }

        /// Reading fails with this message.
        #[track_caller]
        fn fails(&self, message: &str) {
            assert_eq!(self.read().unwrap_err().to_string(), message);
        }
    }

    /// A file with a bit of everything.
    pub(in super::super) fn sample() -> Vec<u8> {
        let mut file = File::new(3, 5, 16);
        for number in [0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12] {
            let size = Element::of_number(number).and_then(Element::size).unwrap();
            file = file.string(&format!("scalar.{number}")).u32(number).bytes(&1_u64.to_le_bytes()[..size]);
        }
        file = file.string("text").u32(8).string("Grüße");
        file = file.string("general.alignment").u32(4).u32(32);
        file = file.string("tokens").u32(9).u32(8).u64(3).string("a").string("").string("ccc");
        file = file.string("scores").u32(9).u32(6).u64(2).u32(0).u32(1);
        file = file.string("nested").u32(9).u32(9).u64(2).u32(0).u64(3).bytes(&[1, 2, 3]).u32(7).u64(1).bytes(&[1]);
        file = file.tensor("late", &[3, 2], 0, 192);
        file = file.tensor("early", &[32, 2, 1], 8, 0);
        file = file.tensor("new", &[7], 1000, 96);
        file = file.tensor("scalar", &[], 28, 160);
        file.tensor("empty", &[256, 0], 12, 224).data(216).0
    }

    #[test]
    fn blocks_are_those_of_the_formats() {
        for format in crate::quant::Format::ALL {
            let Some(number) = format.gguf else { continue };
            let block = block(number).unwrap_or_else(|| panic!("no {format:?}"));
            let sizes = (block.elements as usize, block.bytes as usize);
            assert_eq!((block.name, sizes), (format.name, (format.elements, format.bytes)));
        }
    }

    #[test]
    fn everything_is_read() {
        let file = sample();
        let contents = read(&file).unwrap();
        assert_eq!(contents.format.to_string(), "GGUF version 3");
        let keys: Vec<&str> = contents.metadata.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys[10..], ["scalar.12", "text", "general.alignment", "tokens", "scores", "nested"]);
        let values: Vec<&Value> = contents.metadata.iter().map(|(_, value)| value).collect();
        assert_eq!(*values[5], Value::I32(1));
        assert_eq!(*values[7], Value::Bool(true));
        assert_eq!(*values[11], Value::String("Grüße".into()));
        let Value::Array(tokens) = values[13] else { panic!("{:?}", values[13]) };
        assert_eq!(tokens.strings(&file).collect::<Vec<_>>(), [&b"a"[..], b"", b"ccc"]);
        assert_eq!(tokens.arrays(&file).count(), 0);
        let Value::Array(scores) = values[14] else { panic!("{:?}", values[14]) };
        assert_eq!((scores.element, scores.count), (Element::F32, 2));
        assert_eq!(scores.bytes(&file), [0, 0, 0, 0, 1, 0, 0, 0]);
        let Value::Array(nested) = values[15] else { panic!("{:?}", values[15]) };
        let inner: Vec<Array> = nested.arrays(&file).collect();
        assert_eq!(inner.iter().map(|array| array.element).collect::<Vec<_>>(), [Element::U8, Element::Bool]);
        assert_eq!((inner[0].bytes(&file), inner[1].bytes(&file)), (&[1, 2, 3][..], &[1][..]));
        // Of another file there is nothing to be had, and no harm done.
        assert_eq!(tokens.strings(b"").count() + nested.arrays(b"").count() + scores.bytes(b"").len(), 0);

        let base = (file.len() - 216) as u64;
        let tensors: Vec<_> =
            contents.tensors.iter().map(|t| (t.name.as_str(), &t.shape[..], t.kind.to_string())).collect();
        assert_eq!(
            tensors,
            [
                ("late", &[2, 3][..], "float32".to_owned()),
                ("early", &[1, 2, 32], "q8_0".to_owned()),
                ("new", &[7], "GGUF type 1000".to_owned()),
                ("scalar", &[], "float64".to_owned()),
                ("empty", &[0, 256], "q4_k".to_owned()),
            ]
        );
        let places: Vec<_> = contents.tensors.iter().map(|t| t.data.start - base..t.data.end - base).collect();
        assert_eq!(places, [192..216, 0..68, 96..160, 160..168, 216..216]);
    }

    #[test]
    fn small_files_are_read() {
        let contents = File::new(2, 0, 0).read().unwrap();
        assert_eq!(contents.format, FileFormat::Gguf { version: 2 });
        assert!(contents.metadata.is_empty() && contents.tensors.is_empty());
        // An alignment of another size, and bytes that are no text.
        let file =
            File::new(3, 1, 2).string("general.alignment").u32(4).u32(1).string("latin").u32(8).u64(1).bytes(b"\xfc");
        let file = file.tensor("x", &[1], 24, 1).bytes(&[9, 7]);
        let contents = file.read().unwrap();
        assert_eq!(contents.metadata[1].1, Value::Bytes(vec![0xfc]));
        assert_eq!(file.0[contents.tensors[0].data.start as usize..], [7]);
    }

    #[test]
    fn headers_are_checked() {
        File(b"GG".to_vec()).fails("the file at byte 0: the file ends inside the magic number");
        File(b"GGUF\x03".to_vec()).fails(
            "the header at byte 4: the version needs 4 bytes, but the file ends after 1; it is truncated or damaged",
        );
        File::new(0, 0, 0).fails("the header at byte 4: the version is 0; the file is damaged");
        File::new(1, 0, 0).fails(
            "the header at byte 4: this is GGUF version 1, of which few files were ever made; convert it to version 3",
        );
        File::new(4, 0, 0).fails("the header at byte 4: this is GGUF version 4, and only 2 and 3 can be read");
        File::new(3 << 24, 0, 0).fails(
            "the header at byte 4: the file is big-endian; convert it to little-endian (`gguf-convert-endian` does)",
        );
        File::new(3, u64::MAX, 0).fails(
            "the header at byte 8: the count of tensors is 18446744073709551615, \
             but the rest of the file has room for 0 at most",
        );
        File::new(3, 0, 2).data(0).fails(
            "the header at byte 16: the count of metadata is 2, but the rest of the file has room for 0 at most",
        );
    }

    #[test]
    fn metadata_are_checked() {
        let file = File::new(3, 0, 1);
        let entry = file.clone().string("k");
        file.clone().u64(1 << 40).data(40).fails(
            "metadata entry 1 of 1 at byte 32: its key needs 1099511627776 bytes, but the file ends after 40; \
             it is truncated or damaged",
        );
        file.u64(3).bytes(b"ab\xff").data(40).fails("metadata entry 1 of 1 at byte 34: its key is not valid UTF-8");
        entry
            .clone()
            .u32(13)
            .data(40)
            .fails("metadata 'k' at byte 33: its type is 13, which GGUF does not have (0 to 12)");
        entry
            .clone()
            .u32(7)
            .bytes(&[2])
            .fails("metadata 'k' at byte 37: it has 2 where a bool has 0 or 1; the file is damaged");
        entry.clone().u32(12).bytes(&[0; 7]).fails(
            "metadata 'k' at byte 37: its value needs 8 bytes, but the file ends after 7; it is truncated or damaged",
        );
        let list = entry.clone().u32(9);
        list.clone()
            .u32(99)
            .data(40)
            .fails("metadata 'k' at byte 37: its elements' type is 99, which GGUF does not have (0 to 12)");
        list.clone().u32(10).u64(u64::MAX).fails(
            "metadata 'k' at byte 41: its count of elements is 18446744073709551615, \
             but the rest of the file has room for 0 at most",
        );
        list.clone()
            .u32(7)
            .u64(3)
            .bytes(&[1, 0, 255])
            .fails("metadata 'k' at byte 51: it has 255 where a bool has 0 or 1; the file is damaged");
        list.clone().u32(8).u64(1).u64(u64::MAX).fails(
            "metadata 'k' at byte 57: an element of it needs 18446744073709551615 bytes, but the file ends after 0; \
             it is truncated or damaged",
        );
        let nested = (1..NESTING).fold(list.clone(), |file, _| file.u32(9).u64(1));
        nested.clone().u32(0).u64(0).read().unwrap();
        nested.u32(9).u64(1).u32(0).u64(0).fails("metadata 'k' at byte 85: more than 4 arrays lie in one another");
        File::new(3, 0, 2)
            .string("k")
            .u32(0)
            .bytes(&[1])
            .string("k")
            .u32(0)
            .bytes(&[1])
            .fails("metadata 'k' at byte 38: an earlier entry has the same key");
        let alignment = File::new(3, 0, 1).string("general.alignment");
        for value in [0, 24] {
            alignment.clone().u32(4).u32(value).fails(&format!(
                "metadata 'general.alignment' at byte 53: the alignment is {value}, which is not a power of two",
            ));
        }
        alignment
            .u32(10)
            .u64(32)
            .fails("metadata 'general.alignment' at byte 49: the alignment must be an unsigned 32-bit integer");
    }

    #[test]
    fn tensors_are_checked() {
        let file = File::new(3, 1, 0);
        file.clone().u64(2).bytes(b"a\xff").data(40).fails("tensor 1 of 1 at byte 33: its name is not valid UTF-8");
        file.clone().string("x").u32(65).data(40).fails("tensor 'x' at byte 33: it has 65 axes, and 64 are the most");
        file.clone()
            .tensor("x", &[2, 1 << 63], 0, 0)
            .data(0)
            .fails("tensor 'x' at byte 45: axis 0 is 9223372036854775808 long, more than any memory holds");
        for axes in [[1 << 40, 1 << 40, 1], [1 << 61, 1, 1], [0, 1 << 40, 1 << 40]] {
            let [a, b, c] = axes;
            file.clone().tensor("x", &axes, 0, 0).data(0).fails(&format!(
                "tensor 'x' at byte 33: its shape [{c}, {b}, {a}] has more elements than any memory holds",
            ));
        }
        file.clone()
            .tensor("x", &[48], 8, 0)
            .data(99)
            .fails("tensor 'x' at byte 45: its rows have 48 elements, but q8_0 has blocks of 32");
        file.clone()
            .tensor("x", &[], 12, 0)
            .data(999)
            .fails("tensor 'x' at byte 37: its rows have 1 elements, but q4_k has blocks of 256");
        file.clone()
            .tensor("x", &[4], 0, 8)
            .data(99)
            .fails("tensor 'x' at byte 49: its offset is 8, which is not a multiple of the alignment, 32");
        file.clone()
            .tensor("x", &[4], 0, 0_u64.wrapping_sub(32))
            .data(99)
            .fails("tensor 'x' at byte 49: its offset is 18446744073709551584, which is outside of any file");
        file.clone()
            .tensor("x", &[4], 0, 0)
            .data(15)
            .fails("tensor 'x' at byte 49: its data end at byte 80, but the file has 79; it is truncated");
        for (axes, kind) in [(4, 0), (0, 0), (4, 1000)] {
            file.clone().tensor("x", &[axes], kind, 1 << 40).data(15).fails(
                "tensor 'x' at byte 49: its data begin at byte 1099511627840, but the file has 79; it is truncated",
            );
        }
        file.clone()
            .tensor("x\n'y", &[48], 8, 0)
            .fails("tensor 'x\\n\\'y' at byte 48: its rows have 48 elements, but q8_0 has blocks of 32");
        let long = "é".repeat(101);
        file.tensor(&long, &[48], 8, 0).fails(&format!(
            "tensor '{}...' at byte 246: its rows have 48 elements, but q8_0 has blocks of 32",
            &long[..200]
        ));
        let two = File::new(3, 2, 0).tensor("a", &[9], 0, 0);
        two.clone()
            .tensor("a", &[4], 0, 64)
            .data(99)
            .fails("tensor 'a' at byte 57: an earlier tensor has the same name");
        for (kind, message) in [
            (0, "tensor 'b' at byte 128: its data begin here, but bytes 96 to 132 belong to tensor 'a'"),
            (1000, "tensor 'b' at byte 128: its data begin here, but bytes 96 to 132 belong to tensor 'a'"),
        ] {
            two.clone().tensor("b", &[4], kind, 32).data(99).fails(message);
        }
        File::new(3, 2, 1)
            .string("k")
            .u32(8)
            .string(&"v".repeat(60))
            .fails("the list of tensors at byte 105: 2 tensors are to follow, but no more than 0 bytes do");
    }
}
