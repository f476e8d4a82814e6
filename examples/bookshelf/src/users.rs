//! Users and their passwords.

use std::path::Path;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde::Serialize;

use crate::db::{Db, FILE};
use crate::fault::{Fault, Result};
use crate::viewer::{Role, Viewer};
use crate::words;

/// The fewest characters of a password, and the most bytes: more are only work for us.
pub const PASSWORD: std::ops::RangeInclusive<usize> = 8..=256;

/// The most characters of a name.
const NAME_CHARS: usize = 64;

/// Somebody with a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Their number.
    pub id: i64,
    /// What they log in as.
    pub name: String,
    /// What they may do.
    pub role: Role,
    password: String,
}

/// A user as the pages know them.
#[derive(Clone, Debug, Serialize)]
pub struct Me {
    /// Their number.
    pub id: String,
    /// Their name.
    pub name: String,
    /// What they are.
    pub role: Role,
}

impl User {
    /// As they are told of themselves.
    pub fn me(&self) -> Me {
        Me { id: self.id.to_string(), name: self.name.clone(), role: self.role }
    }

    /// What they may see.
    pub fn viewer(&self) -> Viewer {
        Viewer { user: self.id, role: self.role }
    }

    pub(crate) fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<User> {
        let role = if row.get::<_, String>(2)? == "admin" { Role::Admin } else { Role::Member };
        Ok(User { id: row.get(0)?, name: row.get(1)?, role, password: row.get(3)? })
    }
}

/// The user with this name.
pub fn named(db: &Connection, name: &str) -> Result<Option<User>> {
    let mut statement = db.prepare_cached("SELECT id, name, role, password FROM users WHERE name = ?1")?;
    Ok(statement.query_row([name], User::read).optional()?)
}

/// Adds a user.
pub fn add(tx: &Transaction<'_>, name: &str, role: Role, password_hash: &str) -> Result<i64> {
    tx.execute(
        "INSERT INTO users (name, role, password) VALUES (?1, ?2, ?3)",
        params![name, role.name(), password_hash],
    )?;
    Ok(tx.last_insert_rowid())
}

/// Adds a user to the database in `data`, also while the program runs.
///
/// # Errors
/// Where the name or the password can't be one, or somebody has the name.
pub async fn add_to(data: &Path, name: &str, role: Role, password: &str, memory_kib: u32) -> Result<i64> {
    if words::tidy(name).as_deref() != Some(name) || name.chars().count() > NAME_CHARS {
        let detail = format!("{name:?} is no name: it has 1 to {NAME_CHARS} characters, and no spaces around them");
        return Err(Fault::invalid("name", detail));
    }
    if !may_be_password(password) {
        return Err(Fault::invalid("password", password_rule()));
    }
    std::fs::create_dir_all(data)?;
    let (db, hash) = (Db::open(&data.join(FILE))?, Passwords::new(memory_kib)?.hash(password)?);
    let name = name.to_owned();
    db.write(move |tx| {
        if named(tx, &name)?.is_some() {
            return Err(Fault::conflict("known-user", format!("there is somebody named {name:?} already")));
        }
        add(tx, &name, role, &hash)
    })
    .await
}

/// A password of 128 random bits.
pub fn made_up() -> Result<String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| Fault::Broken(format!("the system gave no random bytes: {error}")))?;
    Ok(URL_SAFE_NO_PAD.encode(random))
}

/// Whether it is neither too short nor too long.
pub fn may_be_password(text: &str) -> bool {
    PASSWORD.contains(&text.chars().count()) && text.len() <= *PASSWORD.end()
}

/// What [`may_be_password`] asks for, as a sentence.
pub fn password_rule() -> String {
    format!("a password has {} to {} characters", PASSWORD.start(), PASSWORD.end())
}

/// Whether there are no users yet.
pub fn are_none(db: &Connection) -> Result<bool> {
    Ok(db.query_row("SELECT NOT EXISTS (SELECT 1 FROM users)", [], |row| row.get(0))?)
}

/// Gives a user another password.
pub fn set_password(tx: &Transaction<'_>, user: i64, password_hash: &str) -> Result<()> {
    tx.execute("UPDATE users SET password = ?2 WHERE id = ?1", params![user, password_hash])?;
    Ok(())
}

/// Makes and checks hashes of passwords (Argon2id, RFC 9106).
#[derive(Clone)]
pub struct Passwords {
    argon2: Argon2<'static>,
    /// The hash of no password: who is not known takes as long as who is.
    nobody: String,
}

impl Passwords {
    /// With so many KiB of memory for each hash. OWASP's least is 19 MiB; tests take less.
    pub fn new(memory_kib: u32) -> Result<Passwords> {
        let params = Params::new(memory_kib, 2, 1, None).map_err(|error| Fault::Broken(error.to_string()))?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let nobody = hash(&argon2, "nobody")?;
        Ok(Passwords { argon2, nobody })
    }

    /// The hash of a password. Takes some tens of milliseconds.
    pub fn hash(&self, password: &str) -> Result<String> {
        hash(&self.argon2, password)
    }

    /// Whether this is the password of the user; of nobody, it is none. Takes as long either way.
    pub fn is_of(&self, user: Option<&User>, password: &str) -> bool {
        let kept = user.map_or(self.nobody.as_str(), |user| user.password.as_str());
        let Ok(kept) = PasswordHash::new(kept) else { return false };
        let is_right = self.argon2.verify_password(password.as_bytes(), &kept).is_ok();
        is_right && user.is_some()
    }
}

fn hash(argon2: &Argon2<'_>, password: &str) -> Result<String> {
    let hash = argon2.hash_password(password.as_bytes()).map_err(|error| Fault::Broken(error.to_string()))?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_kept_as_a_hash_that_nobody_else_has() {
        let passwords = Passwords::new(64).unwrap();
        let (one, two) = (passwords.hash("same").unwrap(), passwords.hash("same").unwrap());
        assert!(one.starts_with("$argon2id$") && one != two);
        let user = User { id: 1, name: "ann".into(), role: Role::Member, password: one };
        assert!(passwords.is_of(Some(&user), "same"));
        assert!(!passwords.is_of(Some(&user), "other"));
        assert!(!passwords.is_of(None, "nobody"));
    }
}
