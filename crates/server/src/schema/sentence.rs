//! What is wrong with data, in sentences that repeat names of its members but no values: they may be large, or secret.

use std::borrow::Cow;

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use serde_json::Value;
use tidings::SchemaFault;

/// The longest pointer that is told; names within it are the publisher's.
const MAX_POINTER: usize = 256;
/// The longest name of a member that is told.
const MAX_NAME: usize = 64;
/// About how much of the schema's own values is told.
const MAX_VALUES: usize = 120;

/// Where it is, and what.
pub(super) fn fault(error: &ValidationError<'_>) -> SchemaFault {
    let error = nearest_miss(error);
    SchemaFault { pointer: cut(error.instance_path().as_str(), MAX_POINTER).into_owned(), detail: detail(error) }
}

/// Of several forms of which none fits, the mistake in the one that was got furthest into, if that is one.
fn nearest_miss<'a, 'i>(error: &'a ValidationError<'i>) -> &'a ValidationError<'i> {
    let (ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context }) = error.kind() else {
        return error;
    };
    let depth = |error: &ValidationError<'_>| error.instance_path().segments().count();
    let firsts = context.iter().filter_map(|branch| branch.first()).map(nearest_miss);
    let mut best: Option<(&ValidationError<'_>, bool)> = None;
    for first in firsts.filter(|first| depth(first) > depth(error) || is_of_its_kind(first)) {
        best = match best {
            Some((known, _)) if depth(known) > depth(first) => best,
            Some((known, _)) if depth(known) == depth(first) => Some((known, false)),
            _ => Some((first, true)),
        };
    }
    best.filter(|(_, alone)| *alone).map_or(error, |(first, _)| first)
}

/// Whether the value is at least of the kind that was asked for.
fn is_of_its_kind(error: &ValidationError<'_>) -> bool {
    !matches!(error.kind(), ValidationErrorKind::Type { .. } | ValidationErrorKind::FalseSchema)
}

fn detail(error: &ValidationError<'_>) -> String {
    use ValidationErrorKind as Kind;
    match error.kind() {
        Kind::Type { kind: TypeKind::Single(kind) } => format!("it must be {}", with_article(kind.as_str())),
        Kind::Type { kind: TypeKind::Multiple(kinds) } => {
            let kinds: Vec<_> = kinds.iter().map(|kind| kind.as_str()).collect();
            format!("it must be {}", kinds.join(" or "))
        }
        Kind::Required { property } => {
            format!("`{}` is missing", cut(property.as_str().unwrap_or_default(), MAX_NAME))
        }
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            let first = unexpected.first().map(String::as_str).unwrap_or_default();
            match unexpected.len() {
                0 | 1 => format!("it may not have `{}`", cut(first, MAX_NAME)),
                count => format!("it may not have `{}` and {} others", cut(first, MAX_NAME), count - 1),
            }
        }
        Kind::Enum { options } => format!("it must be one of {}", values(options)),
        Kind::Constant { expected_value } => format!("it must be {}", cut(&expected_value.to_string(), MAX_VALUES)),
        Kind::Minimum { limit } => format!("it must be at least {limit}"),
        Kind::Maximum { limit } => format!("it must be at most {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("it must be more than {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("it must be less than {limit}"),
        Kind::MultipleOf { multiple_of } => format!("it must be a multiple of {multiple_of}"),
        Kind::MinLength { limit } => format!("it must have at least {limit} characters"),
        Kind::MaxLength { limit } => format!("it must have at most {limit} characters"),
        Kind::Pattern { pattern } => format!("it must match the pattern {}", cut(pattern, MAX_VALUES)),
        Kind::MinItems { limit } => format!("it must have at least {limit} elements"),
        Kind::MaxItems { limit } => format!("it must have at most {limit} elements"),
        Kind::AdditionalItems { limit } => format!("it must have at most {limit} elements"),
        Kind::UnevaluatedItems { .. } => "it has more elements than the schema knows".into(),
        Kind::UniqueItems => "no two of its elements may be equal".into(),
        Kind::Contains => "it lacks an element that the schema asks for".into(),
        Kind::MinProperties { limit } => format!("it must have at least {limit} members"),
        Kind::MaxProperties { limit } => format!("it must have at most {limit} members"),
        Kind::PropertyNames { .. } => "one of its members has a name that is not allowed".into(),
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
            format!("it is none of the {} things that it may be", context.len())
        }
        Kind::OneOfMultipleValid { .. } => "it is more than one of the things of which it must be one".into(),
        Kind::Not { .. } => "it is just what it may not be".into(),
        Kind::FalseSchema => "it may not be there".into(),
        Kind::Referencing(error) => format!("a reference can't be followed: {}", cut(&error.to_string(), MAX_VALUES)),
        // What is left says something about the schema, not about data.
        _ => cut(&error.masked().to_string(), MAX_VALUES).into_owned(),
    }
}

fn with_article(kind: &str) -> String {
    match kind {
        "null" => "null".into(),
        "boolean" => "true or false".into(),
        "integer" => "a whole number".into(),
        "array" => "a list".into(),
        "object" => "an object".into(),
        kind => format!("a {kind}"),
    }
}

/// The schema's own values, as many as are of use.
fn values(options: &Value) -> String {
    let mut text = String::new();
    let options = options.as_array().map(Vec::as_slice).unwrap_or_default();
    for (index, option) in options.iter().enumerate() {
        if text.len() > MAX_VALUES {
            return format!("{text} and {} more", options.len() - index);
        }
        text.push_str(if index == 0 { "" } else { ", " });
        text.push_str(&cut(&option.to_string(), MAX_VALUES));
    }
    text
}

/// The text, or its beginning.
fn cut(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]).into(),
        None => text.into(),
    }
}
