//! Python's numbers, sequences and dicts as bytes that lie as a WGSL type says.

use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyInt, PyList, PyMapping, PySequence, PyString, PyTuple};

use crate::kernel::Kernel;
use crate::kernel::bind::smallest;
use crate::kernel::types::{Field, Scalar, Type, column_stride};

/// What is filled in of itself: the numbers of a field, by its name.
pub(super) type Automatic<'a> = &'a dyn Fn(&str) -> Option<Vec<usize>>;

/// The value of a variable as its bytes.
pub(super) fn pack(
    kernel: &Kernel,
    name: &str,
    ty: &Type,
    value: &Bound<'_, PyAny>,
    automatic: Automatic<'_>,
) -> PyResult<Vec<u8>> {
    let mut bytes = vec![0; size_with_tail(kernel, name, ty, value)?];
    Packer { kernel, automatic }.put(ty, value, &mut bytes, &Path::Name(name))?;
    Ok(bytes)
}

/// The most bytes of a value: no device binds more.
const MOST: usize = 1 << 31;

/// Refuses a sequence that is too long for any binding, before NumPy makes an array of it.
pub(super) fn check_length(
    kernel: &Kernel,
    name: &str,
    ty: &Type,
    size: usize,
    value: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let refuse =
        |many: &str| Err(kernel.refuse(format!("'{name}' ({ty}): {many}, and no binding holds so many")).into());
    match counted(value, 0) {
        Ok(count) if count > MOST / size => refuse(&format!("it has {count} elements")),
        Err(error) if error.is_instance_of::<PyOverflowError>(value.py()) => {
            refuse("it has more elements than 63 bits count")
        }
        // What says no length is whatever NumPy makes of it.
        _ => Ok(()),
    }
}

/// How many elements a sequence has, where those of lists are taken to be as long as the first.
fn counted(value: &Bound<'_, PyAny>, depth: usize) -> PyResult<usize> {
    let count = value.len()?;
    let nests = value.is_exact_instance_of::<PyList>() || value.is_exact_instance_of::<PyTuple>();
    if !nests || count == 0 || depth > DEEPEST {
        return Ok(count);
    }
    let first = value.get_item(0)?;
    let is_text = first.is_instance_of::<PyString>() || first.is_instance_of::<PyBytes>();
    Ok(if is_text { count } else { count.saturating_mul(counted(&first, depth + 1).unwrap_or(1)) })
}

/// NumPy's arrays have no more axes.
const DEEPEST: usize = 64;

/// Bytes of a value whose type leaves the number of its last elements open.
fn size_with_tail(kernel: &Kernel, name: &str, ty: &Type, value: &Bound<'_, PyAny>) -> PyResult<usize> {
    let Some((_, stride)) = ty.tail() else { return Ok(ty.size()) };
    let last = match ty {
        Type::Struct { fields, .. } => {
            let field = fields.last().expect("a struct with a tail has fields");
            // What is no dict or lacks the field is refused when its fields are read.
            let Ok(last) = value.get_item(&*field.name) else { return Ok(smallest(ty)) };
            last
        }
        _ => value.clone(),
    };
    let count = last.len().unwrap_or(1);
    if count == 0 {
        let why = "it has no element, and WGSL's arrays have at least one";
        return Err(kernel.refuse(format!("'{name}' ({ty}): {why}")).into());
    }
    if count > MOST / stride {
        let why = format!("it has {count} elements, and no binding holds so many");
        return Err(kernel.refuse(format!("'{name}' ({ty}): {why}")).into());
    }
    Ok((ty.size() + count * stride).max(smallest(ty)))
}

/// Where a value is within what was given: `p.lights[2].color`.
enum Path<'a> {
    Name(&'a str),
    Field(&'a Self, &'a str),
    Item(&'a Self, usize),
}

impl std::fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Field(of, name) => write!(f, "{of}.{name}"),
            Self::Item(of, index) => write!(f, "{of}[{index}]"),
        }
    }
}

struct Packer<'a> {
    kernel: &'a Kernel,
    automatic: Automatic<'a>,
}

impl Packer<'_> {
    fn put(&self, ty: &Type, value: &Bound<'_, PyAny>, to: &mut [u8], path: &Path<'_>) -> PyResult<()> {
        match ty {
            Type::Scalar(scalar) | Type::Atomic(scalar) => {
                put_number(*scalar, value, to).map_err(|why| self.refuse(path, ty, &why))
            }
            Type::Vector { size, scalar } => {
                self.put_items(value, *size, scalar.size(), &Type::Scalar(*scalar), ty, to, path)
            }
            Type::Matrix { columns, rows, scalar } => {
                let column = Type::Vector { size: *rows, scalar: *scalar };
                self.put_items(value, *columns, column_stride(*rows) * scalar.size(), &column, ty, to, path)
            }
            Type::Array { of, count, stride } => {
                let count = count.map_or_else(|| value.len(), Ok).unwrap_or(1);
                self.put_items(value, count, *stride, of, ty, to, path)
            }
            Type::Struct { fields, .. } => self.put_struct(fields, value, ty, to, path),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a type, and where it goes")]
    fn put_items(
        &self,
        value: &Bound<'_, PyAny>,
        count: usize,
        stride: usize,
        of: &Type,
        ty: &Type,
        to: &mut [u8],
        path: &Path<'_>,
    ) -> PyResult<()> {
        // Items of NumPy's arrays are slow; those of lists are not. Structured ones have names, which lists lack.
        let listed;
        let value = match value.cast::<PyUntypedArray>() {
            Ok(array) if !array.dtype().has_fields() => {
                listed = value.call_method0("tolist")?;
                &listed
            }
            _ => value,
        };
        let wrong = |found: String| {
            let given = value.len().is_err() && !matches!(ty, Type::Vector { .. } | Type::Matrix { .. });
            let wanted = if given { "an array or a sequence" } else { &*format!("a sequence of {count}") };
            self.refuse(path, ty, &format!("{wanted} is wanted, not {found}"))
        };
        let is_text = value.is_instance_of::<PyString>() || value.is_instance_of::<PyBytes>();
        let sequence = match value.cast::<PySequence>() {
            Ok(sequence) if !is_text => sequence.clone(),
            // NumPy's arrays do not register as sequences.
            _ if value.cast::<PyUntypedArray>().is_ok() => {
                value.try_iter()?.collect::<PyResult<Vec<_>>>()?.into_pyobject(value.py())?.cast_into()?
            }
            _ => return Err(wrong(shown(value))),
        };
        let mut found = 0;
        // What it gives need not be what its length says.
        for item in sequence.try_iter()? {
            if found < count {
                self.put(of, &item?, &mut to[found * stride..], &Path::Item(path, found))?;
            }
            found += 1;
            if found > count {
                break;
            }
        }
        if found == count { Ok(()) } else { Err(wrong(sequence.len().unwrap_or(found).to_string())) }
    }

    fn put_struct(
        &self,
        fields: &[Field],
        value: &Bound<'_, PyAny>,
        ty: &Type,
        to: &mut [u8],
        path: &Path<'_>,
    ) -> PyResult<()> {
        let py = value.py();
        let names: Vec<String> = if let Ok(dict) = value.cast::<PyDict>() {
            dict.keys().iter().map(|key| key.str().map(|key| key.to_string())).collect::<PyResult<_>>()?
        } else if let Ok(mapping) = value.cast::<PyMapping>() {
            mapping.keys()?.iter().map(|key| key.str().map(|key| key.to_string())).collect::<PyResult<_>>()?
        } else {
            let names = value.getattr("dtype").and_then(|dtype| dtype.getattr("names"));
            let Some(names) = names.ok().filter(|names| !names.is_none()) else {
                let why = format!("a dict with {} is wanted, not {}", fields_of(fields), shown(value));
                return Err(self.refuse(path, ty, &why));
            };
            names.extract()?
        };
        if let Some(unknown) = names.iter().find(|name| fields.iter().all(|field| field.name != **name)) {
            let why = format!("there is no field '{unknown}'; the fields are {}", fields_of(fields));
            return Err(self.refuse(path, ty, &why));
        }
        for field in fields {
            let path = Path::Field(path, &field.name);
            let to = &mut to[field.offset..];
            if names.contains(&field.name) {
                let given =
                    value.get_item(&*field.name).map_err(|_| self.refuse(&path, &field.ty, "it cannot be read"))?;
                self.put(&field.ty, &given, to, &path)?;
            } else if let Some(numbers) = (self.automatic)(&field.name) {
                self.put_automatic(&field.ty, &numbers, field.name.ends_with("_shape"), to, &path, py)?;
            } else {
                let Path::Field(of, _) = path else { unreachable!("made above") };
                return Err(missing_field(self.kernel, of, field, fields));
            }
        }
        Ok(())
    }

    /// Fills in sizes, shapes and strides. Axes that an argument has not are in front, as NumPy broadcasts.
    fn put_automatic(
        &self,
        ty: &Type,
        numbers: &[usize],
        is_shape: bool,
        to: &mut [u8],
        path: &Path<'_>,
        py: Python<'_>,
    ) -> PyResult<()> {
        let wanted = ty.numbers().map_or(0, |numbers| numbers.count);
        if wanted < numbers.len() {
            let why = format!("it is filled in with {numbers:?}, which it has no room for; give it in the call");
            return Err(self.refuse(path, ty, &why));
        }
        let mut all = vec![usize::from(is_shape); wanted - numbers.len()];
        all.extend_from_slice(numbers);
        let value = match ty {
            Type::Scalar(_) => all[0].into_pyobject(py)?.into_any(),
            Type::Vector { .. } => all.into_pyobject(py)?.into_any(),
            Type::Array { of, .. } => {
                let per = of.numbers().map_or(1, |numbers| numbers.count);
                let rows: Vec<Vec<usize>> = all.chunks(per).map(<[usize]>::to_vec).collect();
                if matches!(**of, Type::Scalar(_)) {
                    all.into_pyobject(py)?.into_any()
                } else {
                    rows.into_pyobject(py)?.into_any()
                }
            }
            _ => {
                return Err(self.refuse(
                    path,
                    ty,
                    "only numbers, vectors and arrays of them are filled in; give it in the call",
                ));
            }
        };
        self.put(ty, &value, to, path)
    }

    fn refuse(&self, path: &Path<'_>, ty: &Type, why: &str) -> PyErr {
        self.kernel.refuse(format!("'{path}' ({ty}): {why}")).into()
    }
}

fn missing_field(kernel: &Kernel, path: &Path<'_>, field: &Field, fields: &[Field]) -> PyErr {
    kernel.refuse(format!("'{path}' lacks the field '{}'; the fields are {}", field.name, fields_of(fields))).into()
}

fn fields_of(fields: &[Field]) -> String {
    fields.iter().map(|field| format!("{}: {}", field.name, field.ty)).collect::<Vec<_>>().join(", ")
}

/// A value for a message, cut where it is long.
pub(super) fn shown(value: &Bound<'_, PyAny>) -> String {
    let text = value.repr().map_or_else(|_| "this object".into(), |text| text.to_string());
    if text.chars().count() > 60 { format!("{}…", text.chars().take(60).collect::<String>()) } else { text }
}

fn put_number(scalar: Scalar, value: &Bound<'_, PyAny>, to: &mut [u8]) -> Result<(), String> {
    let is_int = value.is_instance_of::<PyInt>();
    let float = || match value.extract::<f64>() {
        Ok(number) => Ok(number),
        Err(_) if is_int => Err(format!("{} is beyond what {scalar} holds", shown(value))),
        Err(_) => Err(format!("a number is wanted, not {}", shown(value))),
    };
    let wrong = |wanted: &str| format!("{wanted} is wanted, not {}", shown(value));
    let beyond = || format!("{} is beyond what {scalar} holds", shown(value));
    let int = || match value.extract::<i128>() {
        Ok(number) => Ok(number),
        // NumPy's bools are no integers to Python.
        Err(_) if let Ok(flag) = value.extract::<bool>() => Ok(i128::from(flag)),
        Err(_) if is_int => Err(beyond()),
        Err(_) => Err(wrong("an integer")),
    };
    macro_rules! integer {
        ($($ty:ty),*) => {
            { $( let bytes = <$ty>::try_from(int()?).map_err(|_| beyond())?.to_le_bytes(); )* to[..bytes.len()].copy_from_slice(&bytes) }
        };
    }
    match scalar {
        Scalar::F32 => {
            let number = float()?;
            if number.is_finite() && (number as f32).is_infinite() {
                return Err(beyond());
            }
            to[..4].copy_from_slice(&(number as f32).to_le_bytes());
        }
        Scalar::F16 => {
            let number = float()?;
            let half = half::f16::from_f64(number);
            if number.is_finite() && half.is_infinite() {
                return Err(beyond());
            }
            to[..2].copy_from_slice(&half.to_le_bytes());
        }
        Scalar::F64 => to[..8].copy_from_slice(&float()?.to_le_bytes()),
        Scalar::I16 => integer!(i16),
        Scalar::U16 => integer!(u16),
        Scalar::I32 => integer!(i32),
        Scalar::U32 => integer!(u32),
        Scalar::I64 => integer!(i64),
        Scalar::U64 => integer!(u64),
    }
    Ok(())
}
