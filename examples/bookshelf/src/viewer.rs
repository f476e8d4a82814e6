//! Who looks, and what they may see.

use serde::Serialize;

/// What somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees all books, and may do all.
    Admin,
    /// Sees their own books, and nobody's.
    Member,
}

impl Role {
    /// As it stands in the database.
    pub fn name(self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::Member => "member",
        }
    }
}

/// Who looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Viewer {
    /// Their id.
    pub user: i64,
    /// What they are.
    pub role: Role,
}

impl Viewer {
    /// Whether they may see what belongs to `owner`, or to nobody. The SQL of it is [`Viewer::SEES`].
    pub fn may_see(self, owner: Option<i64>) -> bool {
        self.role == Role::Admin || owner.is_none_or(|owner| owner == self.user)
    }

    /// The same in SQL, of a row `books`, with what [`Viewer::sql`] gives for `?1`.
    pub const SEES: &'static str = "(?1 IS NULL OR books.owner IS NULL OR books.owner = ?1)";

    /// Whose books are seen beside nobody's; none is all.
    pub fn sql(self) -> Option<i64> {
        (self.role == Role::Member).then_some(self.user)
    }
}
