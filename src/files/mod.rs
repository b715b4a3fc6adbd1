//! Model files: what a file says of itself, and where in it each tensor lies.
//!
//! The caller maps the file; nothing here reads, copies or touches the tensors' bytes. Files come from strangers, so
//! every number in them is checked before it is used, no count makes a list longer than the file has bytes for, and
//! what is wrong is said with the field's name and place.

mod gguf;
mod safetensors;

use std::fmt;
use std::ops::Range;

pub use safetensors::read_index;

/// What a file says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Contents {
    pub format: FileFormat,
    /// Names and values, in the file's order.
    pub metadata: Vec<(String, Value)>,
    /// In the header's order, which need not be the order of their data.
    pub tensors: Vec<TensorInfo>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    Gguf { version: u32 },
    Safetensors,
}

impl fmt::Display for FileFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gguf { version } => write!(f, "GGUF version {version}"),
            Self::Safetensors => f.write_str("safetensors"),
        }
    }
}

/// A value of metadata.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    /// A string that is not UTF-8: what it says is lost to most readers, but the file is none the worse.
    Bytes(Vec<u8>),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// An array of metadata, left where it lies: a vocabulary of 150,000 strings costs nothing until somebody asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Array {
    pub element: Element,
    pub count: usize,
    /// Where the elements lie in the file.
    pub data: Range<usize>,
}

/// What an array consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    String,
    Array,
    U64,
    I64,
    F64,
}

impl Element {
    /// Bytes of one, where all are of the same length.
    #[must_use]
    pub const fn size(self) -> Option<usize> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::String | Self::Array => None,
        }
    }
}

impl Array {
    /// The elements as they lie in `file`: numbers are little-endian, one behind the other.
    #[must_use]
    pub fn bytes<'a>(&self, file: &'a [u8]) -> &'a [u8] {
        file.get(self.data.clone()).unwrap_or_default()
    }

    /// The elements of an array of strings, none of any other. Nothing promises that they are UTF-8: some vocabularies
    /// cut characters in pieces.
    pub fn strings<'a>(&self, file: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        gguf::strings(self, file)
    }

    /// The elements of an array of arrays, none of any other.
    pub fn arrays<'a>(&self, file: &'a [u8]) -> impl Iterator<Item = Self> + use<'a> {
        gguf::arrays(self, file)
    }
}

/// What a file says of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    pub name: String,
    /// In NumPy's order, the last axis contiguous.
    pub shape: Vec<usize>,
    pub kind: Kind,
    /// Where its bytes lie in the file. Of an unknown kind in a GGUF file they are all up to the next tensor.
    pub data: Range<u64>,
}

/// What a tensor's elements are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    F32,
    F16,
    BF16,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    Bool,
    /// Blocks, by their type's number in GGUF files.
    Quantised(u32),
    /// Something else, by the name that the file gives it: the other tensors of the file can be read all the same.
    Unknown(String),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::BF16 => "bfloat16",
            Self::F64 => "float64",
            Self::I8 => "int8",
            Self::I16 => "int16",
            Self::I32 => "int32",
            Self::I64 => "int64",
            Self::U8 => "uint8",
            Self::U16 => "uint16",
            Self::U32 => "uint32",
            Self::U64 => "uint64",
            Self::Bool => "bool",
            Self::Quantised(number) => match gguf::block(*number) {
                Some(block) => block.name,
                None => return f.pad(&gguf::unknown(*number)),
            },
            Self::Unknown(name) => name,
        })
    }
}

/// What is wrong with a file, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} at byte {offset}: {problem}")]
pub struct FileError {
    /// Such as "tensor 'output.weight'".
    pub field: String,
    /// Where in the file the field stands, or the byte at which reading stopped.
    pub offset: u64,
    pub problem: String,
}

impl FileError {
    fn new(field: impl fmt::Display, offset: usize, problem: impl Into<String>) -> Self {
        Self { field: field.to_string(), offset: offset as u64, problem: problem.into() }
    }
}

/// Reads what the file at hand says of itself. `bytes` is the whole file, mapped.
pub fn read(bytes: &[u8]) -> Result<Contents, FileError> {
    if bytes.starts_with(b"GGUF") {
        return gguf::read(bytes);
    }
    if bytes.get(8) == Some(&b'{') {
        return safetensors::read(bytes);
    }
    let problem = match bytes {
        [] => "the file is empty",
        [b'P', b'K', 3, 4, ..] if first_of_zip(bytes).ends_with(b".npy") => {
            "this is an archive of NumPy arrays; numpy.load() reads it"
        }
        [b'P', b'K', 3, 4, ..] | [0x80, 2..=5, ..] => {
            "this is a PyTorch checkpoint, which is a program as much as data; convert it to safetensors"
        }
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => "this is a NumPy array; numpy.load() reads it",
        [b'l' | b't' | b'f', b'm' | b'j', b'g', b'g', ..] => "this is a GGML file from before GGUF; convert it to GGUF",
        _ if b"GGUF".starts_with(bytes) => "the file ends inside the magic number",
        [b'v', b'e', b'r', b's', b'i', b'o', b'n', b' ', ..] => {
            "this is a Git LFS pointer, not the file itself; fetch that with `git lfs pull`"
        }
        _ => "the file is neither GGUF (it does not begin with 'GGUF') nor safetensors (its byte 8 is not '{')",
    };
    Err(FileError::new("the file", 0, problem))
}

/// The name of the first file in an archive.
fn first_of_zip(bytes: &[u8]) -> &[u8] {
    let length = bytes.get(26..28).map_or(0, |length| u16::from_le_bytes([length[0], length[1]]));
    bytes.get(30..30 + usize::from(length)).unwrap_or_default()
}

/// A name from a file, fit for a message: in quotes, of bounded length, without control characters.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 100;
        let mut characters = self.0.chars();
        write!(f, "'{}", characters.by_ref().take(LONGEST).collect::<String>().escape_debug())?;
        f.write_str(if characters.next().is_some() { "...'" } else { "'" })
    }
}

/// The bytes of a tensor in blocks of `elements` in `bytes`; `None` where no memory could hold them, even if an axis of
/// length zero leaves nothing to hold.
fn byte_length(shape: &[usize], elements: u64, bytes: u64) -> Option<u64> {
    let mut product = 1_u64;
    for &length in shape.iter().filter(|&&length| length != 0) {
        product = product.checked_mul(length as u64)?;
    }
    let length = product.div_ceil(elements).checked_mul(bytes).filter(|&length| i64::try_from(length).is_ok())?;
    Some(if shape.contains(&0) { 0 } else { length })
}

/// The tensors that have data, by where these begin.
fn by_place(tensors: &[TensorInfo]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..tensors.len()).filter(|&index| !tensors[index].data.is_empty()).collect();
    order.sort_unstable_by_key(|&index| (tensors[index].data.start, index));
    order
}

/// Refuses tensors that share bytes: nobody writes such files, and writing to one tensor would change another.
fn refuse_overlaps(tensors: &[TensorInfo], order: &[usize]) -> Result<(), FileError> {
    for pair in order.windows(2) {
        let (before, after) = (&tensors[pair[0]], &tensors[pair[1]]);
        if after.data.start < before.data.end {
            let Range { start, end } = before.data;
            return Err(FileError {
                field: format!("tensor {}", Quoted(&after.name)),
                offset: after.data.start,
                problem: format!(
                    "its data begin here, but bytes {start} to {end} belong to tensor {}",
                    Quoted(&before.name)
                ),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_are_named() {
        for (bytes, problem) in [
            (&b""[..], "the file is empty"),
            (b"PK\x03\x04", "this is a PyTorch checkpoint"),
            (b"\x80\x02}", "this is a PyTorch checkpoint"),
            (b"PK\x03\x04----------------------\x05\x00\x00\x00w.npy", "this is an archive of NumPy arrays"),
            (b"PK\x03\x04----------------------\xff\xff\x00\x00w.npy", "this is a PyTorch checkpoint"),
            (b"\x93NUMPY\x01\x00", "this is a NumPy array"),
            (b"tjgg\x03", "this is a GGML file from before GGUF"),
            (b"version https://git-lfs.github.com/spec/v1", "this is a Git LFS pointer"),
            (b"{\"weight_map\":{}}", "the file is neither GGUF"),
        ] {
            let error = read(bytes).unwrap_err();
            assert!(error.problem.starts_with(problem), "{error}");
        }
    }

    /// Numbers that break arithmetic which nobody checked.
    const ODD: [u64; 12] =
        [0, 1, 7, 255, 1 << 16, u32::MAX as u64, 1 << 32, 1 << 40, i64::MAX as u64, 1 << 63, u64::MAX - 31, u64::MAX];

    /// Whatever happens to a file, reading it says what it holds or what is wrong, and every place it names is inside.
    #[test]
    fn damaged_files_are_read_or_refused() {
        let rounds = std::env::var("GPUKERN_FUZZ_ROUNDS").map_or(30_000, |rounds| rounds.parse().unwrap());
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 16) as usize % below
        };
        for sample in [gguf::tests::sample(), safetensors::tests::sample()] {
            for length in 0..sample.len() {
                let _ = check(&sample[..length]);
            }
            for _ in 0..rounds {
                let mut file = sample.clone();
                for _ in 0..=random(3) {
                    let at = random(file.len());
                    let width = [1, 2, 4, 8][random(4)].min(file.len() - at);
                    match random(5) {
                        0 => file[at] ^= 1 << random(8),
                        1 => file[at] = random(256) as u8,
                        2 => file[at..at + width].copy_from_slice(&ODD[random(ODD.len())].to_le_bytes()[..width]),
                        3 => {
                            let from = random(file.len() - width + 1);
                            file.copy_within(from..from + width, at);
                        }
                        _ => file.truncate(at.max(1)),
                    }
                }
                let _ = check(&file);
            }
        }
    }

    fn check(file: &[u8]) -> Result<(), FileError> {
        let contents = read(file)?;
        for tensor in &contents.tensors {
            assert!(tensor.data.start <= tensor.data.end && tensor.data.end <= file.len() as u64, "{tensor:?}");
        }
        for (_, value) in &contents.metadata {
            let Value::Array(array) = value else { continue };
            match array.element {
                Element::String => assert_eq!(array.strings(file).count(), array.count),
                Element::Array => assert_eq!(array.arrays(file).count(), array.count),
                element => assert_eq!(Some(array.bytes(file).len()), element.size().map(|size| size * array.count)),
            }
        }
        Ok(())
    }
}
