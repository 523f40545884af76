//! Reading free-form JSON without writing a match at every step.

use miniserde::json::{Number, Value};

/// Typed views of a [`Value`]; each is `None` when the value is of another type.
pub trait ValueExt {
    /// The member `key` of an object.
    fn get(&self, key: &str) -> Option<&Value>;
    /// The text of a string.
    fn as_str(&self) -> Option<&str>;
    /// An integer that fits.
    fn as_i64(&self) -> Option<i64>;
    /// A boolean.
    fn as_bool(&self) -> Option<bool>;
    /// The elements of an array; empty for anything else.
    fn items(&self) -> &[Value];
}

impl ValueExt for Value {
    fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Value::Object(object) => object.get(key),
            _ => None,
        }
    }
    fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(s) => Some(s),
            _ => None,
        }
    }
    fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Number(Number::U64(n)) => i64::try_from(*n).ok(),
            Value::Number(Number::I64(n)) => Some(*n),
            _ => None,
        }
    }
    fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(b) => Some(*b),
            _ => None,
        }
    }
    fn items(&self) -> &[Value] {
        match self {
            Value::Array(array) => array,
            _ => &[],
        }
    }
}

/// Follows `keys` through nested objects.
pub fn get_path<'a>(value: &'a Value, keys: &[&str]) -> Option<&'a Value> {
    keys.iter().try_fold(value, |v, key| v.get(key))
}

/// The free-form view of any serialisable value.
pub fn to_value<T: miniserde::Serialize + ?Sized>(value: &T) -> Value {
    let text = super::to_string_plain(value);
    miniserde::json::from_str(&text).expect("cannot fail: our own writer makes valid JSON")
}
