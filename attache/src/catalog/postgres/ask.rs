//! A statement and its parameters, which can be sent more than once.

use tokio_postgres::types::{ToSql, Type};

/// One statement. Its parameters have built-in types alone: an unknown one would make the driver prepare statements, which a
/// pooler that hands out connections by transaction loses.
pub(super) struct Ask {
    pub(super) sql: String,
    /// Whether it may take so long that it is cancelled when nobody waits for it any more.
    pub(super) long: bool,
    parameters: Vec<(Box<dyn ToSql + Send + Sync>, Type)>,
}

impl Ask {
    pub(super) fn new(sql: impl Into<String>) -> Self {
        Self {
            sql: sql.into(),
            long: false,
            parameters: Vec::new(),
        }
    }

    /// It reads many rows.
    pub(super) fn long(self) -> Self {
        Self { long: true, ..self }
    }

    fn with(mut self, value: impl ToSql + Send + Sync + 'static, of: Type) -> Self {
        self.parameters.push((Box::new(value), of));
        self
    }

    /// `text`
    pub(super) fn text(self, value: impl Into<String>) -> Self {
        self.with(value.into(), Type::TEXT)
    }

    /// `text` or NULL
    pub(super) fn some_text(self, value: Option<String>) -> Self {
        self.with(value, Type::TEXT)
    }

    /// `int8`
    pub(super) fn int(self, value: i64) -> Self {
        self.with(value, Type::INT8)
    }

    /// `int8` or NULL
    pub(super) fn some_int(self, value: Option<i64>) -> Self {
        self.with(value, Type::INT8)
    }

    /// `bytea`
    pub(super) fn bytes(self, value: impl Into<Vec<u8>>) -> Self {
        self.with(value.into(), Type::BYTEA)
    }

    /// `bytea` or NULL
    pub(super) fn some_bytes(self, value: Option<Vec<u8>>) -> Self {
        self.with(value, Type::BYTEA)
    }

    /// `text[]`
    pub(super) fn texts(self, values: impl IntoIterator<Item = String>) -> Self {
        self.with(values.into_iter().collect::<Vec<_>>(), Type::TEXT_ARRAY)
    }

    /// `text[]` with NULLs
    pub(super) fn some_texts(self, values: impl IntoIterator<Item = Option<String>>) -> Self {
        self.with(values.into_iter().collect::<Vec<_>>(), Type::TEXT_ARRAY)
    }

    /// `int8[]`
    pub(super) fn ints(self, values: impl IntoIterator<Item = i64>) -> Self {
        self.with(values.into_iter().collect::<Vec<_>>(), Type::INT8_ARRAY)
    }

    /// `bytea[]`
    pub(super) fn all_bytes(self, values: impl IntoIterator<Item = Vec<u8>>) -> Self {
        self.with(values.into_iter().collect::<Vec<_>>(), Type::BYTEA_ARRAY)
    }

    /// `bytea[]` with NULLs
    pub(super) fn some_all_bytes(self, values: impl IntoIterator<Item = Option<Vec<u8>>>) -> Self {
        self.with(values.into_iter().collect::<Vec<_>>(), Type::BYTEA_ARRAY)
    }

    /// `bool[]` with NULLs
    pub(super) fn some_bools(self, values: impl IntoIterator<Item = Option<bool>>) -> Self {
        self.with(values.into_iter().collect::<Vec<_>>(), Type::BOOL_ARRAY)
    }

    /// As the driver takes them.
    pub(super) fn parameters(&self) -> Vec<(&(dyn ToSql + Sync), Type)> {
        let each = self.parameters.iter();
        each.map(|(value, of)| (&**value as &(dyn ToSql + Sync), of.clone()))
            .collect()
    }
}
