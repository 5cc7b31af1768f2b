//! JSON5 with bounded nesting: a text from outside must not be able to use up the stack.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Deeper than any file of OpenClaw's.
const MAX_NESTING: usize = 100;

/// The value of a JSON5 text; keys that stand twice in an object are added to `duplicates`.
///
/// # Errors
/// Where the text breaks off being JSON5, or that it is nested too deep.
pub(crate) fn parse(text: &str, duplicates: &mut BTreeSet<String>) -> Result<Value, String> {
    let place = |error: json5::Error| match error.position() {
        Some(at) => say!(
            "line {line}, column {column}",
            line = at.line + 1,
            column = at.column + 1
        ),
        None => say!("it ends too early or is nested too deep"),
    };
    let tree = json5::from_str::<Tree>(text).map_err(place)?;
    duplicates.extend(tree.duplicates);
    Ok(tree.value)
}

struct Tree {
    value: Value,
    duplicates: BTreeSet<String>,
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let duplicates = RefCell::default();
        let root = Node {
            depth: 0,
            duplicates: &duplicates,
        };
        let value = root.deserialize(deserializer)?;
        Ok(Self {
            value,
            duplicates: duplicates.into_inner(),
        })
    }
}

/// Any JSON5 value with bounded nesting; a key that stands twice keeps its place and takes the
/// last value, as in JavaScript, and is noted.
struct Node<'a> {
    depth: usize,
    duplicates: &'a RefCell<BTreeSet<String>>,
}

impl Node<'_> {
    fn child<E: serde::de::Error>(&self) -> Result<Self, E> {
        if self.depth >= MAX_NESTING {
            return Err(E::custom("nested too deep"));
        }
        Ok(Self {
            depth: self.depth + 1,
            duplicates: self.duplicates,
        })
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.child()?)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = fields.next_key::<String>()? {
            let value = fields.next_value_seed(self.child()?)?;
            if object.insert(key.clone(), value).is_some() {
                // invariant: no borrow outlives this statement.
                self.duplicates.borrow_mut().insert(key);
            }
        }
        Ok(Value::Object(object))
    }
}
