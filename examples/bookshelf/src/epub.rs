//! Reads what an .epub says of itself: title, author, series, cover (EPUB 3.3 §4.2.6 and §5.5; EPUB 2 covers as well).
//!
//! A file comes from anywhere, so nothing in it is believed: the number of entries, what they unpack to, and how deep they nest are
//! bounded, and nothing is ever written to a path that the file names.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;

use percent_encoding::percent_decode_str;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use zip::ZipArchive;
use zip::result::ZipError;

use crate::words;

/// The largest file: picture books have 100 MiB.
const FILE_BYTES: u64 = 256 << 20;
/// The most entries of its archive. Large books have some hundred chapters and pictures.
const ENTRIES: usize = 10_000;
/// The most bytes of `META-INF/container.xml`, unpacked: it names one file.
const CONTAINER_BYTES: usize = 64 << 10;
/// The most bytes of the package document, unpacked: it names each chapter and picture.
const PACKAGE_BYTES: usize = 4 << 20;
/// The most bytes of a cover, unpacked.
const COVER_BYTES: usize = 8 << 20;
/// How deep the elements of a document may nest.
const DEPTH: usize = 64;

/// What is known of a book by its file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Epub {
    /// Its title.
    pub title: String,
    /// Who wrote it: the first that it names.
    pub author: String,
    /// Its series, and which of it.
    pub series: Option<(String, Option<f64>)>,
    /// Its cover.
    pub cover: Option<Cover>,
}

/// A picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Cover {
    /// The ending of its name: `jpg`, `png`, `gif` or `webp`, by what it is and not by what it is called.
    pub format: &'static str,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Why a file is no book: a sentence for whoever dropped it.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It is larger, deeper or more than is ever meant.
    #[error("{0}")]
    TooMuch(String),
    /// It is no archive, or a broken one.
    #[error("the file is no .epub: its archive can't be read ({0})")]
    Archive(#[from] ZipError),
    /// It has not what every book has.
    #[error("the file is no .epub: {0}")]
    Missing(String),
    /// A document in it is no XML.
    #[error("{0} can't be read: {1}")]
    Document(&'static str, String),
    /// The disk could not.
    #[error("the file can't be read: {0}")]
    Disk(#[from] io::Error),
}

/// Reads the file at `path`. Blocks.
pub fn read(path: &Path) -> Result<Epub, Unreadable> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    if size > FILE_BYTES {
        return Err(Unreadable::TooMuch(format!("the file has {size} bytes; at most {FILE_BYTES} are taken")));
    }
    let mut file = BufReader::with_capacity(64 << 10, file);
    // Before the archive is opened: all its entries are taken into memory then.
    bound_entries(&mut file)?;
    file.rewind()?;
    let mut archive = ZipArchive::new(file)?;
    let container = text(&mut archive, "META-INF/container.xml", CONTAINER_BYTES)?;
    let package_path = package_path(&container)?;
    let package = Package::read(&text(&mut archive, &package_path, PACKAGE_BYTES)?)?;
    let title = package.title.as_deref().and_then(words::tidy);
    let title = title.ok_or_else(|| Unreadable::Missing("it says no title".into()))?;
    let author = package.author.as_deref().and_then(words::tidy).unwrap_or_else(|| "Unknown".into());
    let series = package.series.as_deref().and_then(words::tidy);
    let series = series.map(|series| (series, package.series_index.filter(|index| index.is_finite())));
    let cover = package.cover.and_then(|href| resolve(&package_path, &href));
    // A book without its cover is a book all the same.
    let cover = cover.and_then(|path| bytes(&mut archive, &path, COVER_BYTES).ok()).and_then(picture);
    Ok(Epub { title, author, series, cover })
}

/// Counts the entries by how each begins in the archive's directory (APPNOTE §4.3.12).
fn bound_entries(file: &mut impl Read) -> Result<(), Unreadable> {
    const SIGNATURE: [u8; 4] = *b"PK\x01\x02";
    let (mut entries, mut matched) = (0_usize, 0);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        for byte in &buffer[..read] {
            matched = match *byte == SIGNATURE[matched] {
                true => matched + 1,
                false => usize::from(*byte == SIGNATURE[0]),
            };
            if matched == SIGNATURE.len() {
                (entries, matched) = (entries + 1, 0);
            }
        }
        if entries > ENTRIES {
            return Err(Unreadable::TooMuch(format!("the archive has more than {ENTRIES} entries")));
        }
    }
}

/// An entry unpacked, which has `most` bytes at most, whatever the archive says that it has.
fn bytes<R: Read + Seek>(archive: &mut ZipArchive<R>, name: &str, most: usize) -> Result<Vec<u8>, Unreadable> {
    let entry = match archive.by_name(name) {
        Ok(entry) => entry,
        Err(ZipError::FileNotFound) => return Err(Unreadable::Missing(format!("it has no {name:?}"))),
        Err(error) => return Err(error.into()),
    };
    let mut bytes = Vec::new();
    entry.take(most as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most {
        return Err(Unreadable::TooMuch(format!("{name:?} unpacks to more than {most} bytes")));
    }
    Ok(bytes)
}

fn text<R: Read + Seek>(archive: &mut ZipArchive<R>, name: &str, most: usize) -> Result<String, Unreadable> {
    let bytes = bytes(archive, name, most)?;
    let text = String::from_utf8(bytes).map_err(|_| Unreadable::Missing(format!("{name:?} is not UTF-8")))?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// Where the package document is.
fn package_path(container: &str) -> Result<String, Unreadable> {
    let mut path = None;
    walk("the container document", container, |event| {
        if let Seen::Start(element) = event
            && element.local_name().as_ref() == "rootfile"
            && path.is_none()
        {
            path = attribute(element, "full-path");
        }
    })?;
    let path = path.and_then(|path| resolve("", &path));
    path.ok_or_else(|| Unreadable::Missing("its container document names no package document".into()))
}

/// What the package document says.
#[derive(Debug, Default)]
struct Package {
    title: Option<String>,
    author: Option<String>,
    series: Option<String>,
    series_index: Option<f64>,
    /// The path of the cover, beside the document.
    cover: Option<String>,
}

/// What an element's text is of.
#[derive(Clone, Copy, PartialEq)]
enum Of {
    Title,
    Author,
    Series,
    SeriesIndex,
}

impl Package {
    fn read(document: &str) -> Result<Package, Unreadable> {
        let mut package = Package::default();
        let (mut cover_id, mut covers) = (None, Vec::new());
        let mut open: Option<(Of, String)> = None;
        walk("the package document", document, |seen| match seen {
            Seen::Start(element) => {
                open = package.begin(element).map(|of| (of, String::new()));
                match element.local_name().as_ref() {
                    "meta" if attribute(element, "name").as_deref() == Some("cover") => {
                        cover_id = attribute(element, "content");
                    }
                    "item" => covers.extend(Picture::read(element)),
                    _ => {}
                }
            }
            Seen::Text(text) => {
                if let Some((_, held)) = &mut open {
                    held.push_str(text);
                }
            }
            Seen::End => {
                if let Some((of, text)) = open.take() {
                    package.take(of, text);
                }
            }
        })?;
        // EPUB 3 marks the picture; EPUB 2 names its id in a `meta`.
        let marked = covers.iter().find(|picture| picture.is_cover);
        let named = covers.iter().find(|picture| Some(&picture.id) == cover_id.as_ref());
        package.cover = marked.or(named).map(|picture| picture.href.clone());
        Ok(package)
    }

    fn begin(&mut self, element: &BytesStart<'_>) -> Option<Of> {
        match element.local_name().as_ref() {
            "title" if self.title.is_none() => Some(Of::Title),
            "creator" if self.author.is_none() => Some(Of::Author),
            "meta" => match (attribute(element, "property").as_deref(), attribute(element, "name").as_deref()) {
                (Some("belongs-to-collection"), _) if self.series.is_none() => Some(Of::Series),
                (Some("group-position"), _) => Some(Of::SeriesIndex),
                (None, Some("calibre:series")) => {
                    self.series = self.series.take().or_else(|| attribute(element, "content"));
                    None
                }
                (None, Some("calibre:series_index")) => {
                    self.series_index = attribute(element, "content").and_then(|index| index.trim().parse().ok());
                    None
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn take(&mut self, of: Of, text: String) {
        match of {
            Of::Title => self.title = Some(text),
            Of::Author => self.author = Some(text),
            Of::Series => self.series = Some(text),
            Of::SeriesIndex => self.series_index = text.trim().parse().ok().or(self.series_index),
        }
    }
}

/// An item of the manifest.
struct Picture {
    id: String,
    href: String,
    is_cover: bool,
}

impl Picture {
    fn read(element: &BytesStart<'_>) -> Option<Picture> {
        let properties = attribute(element, "properties").unwrap_or_default();
        Some(Picture {
            id: attribute(element, "id")?,
            href: attribute(element, "href")?,
            is_cover: properties.split_whitespace().any(|property| property == "cover-image"),
        })
    }
}

/// What stands in a document.
enum Seen<'a, 'b> {
    Start(&'a BytesStart<'b>),
    Text(&'a str),
    End,
}

/// Goes through a document. Entities that it defines itself are not followed, and so can't grow.
fn walk(what: &'static str, document: &str, mut see: impl FnMut(Seen<'_, '_>)) -> Result<(), Unreadable> {
    let mut reader = Reader::from_str(document);
    let wrong = |sentence: String| Unreadable::Document(what, sentence);
    let mut depth = 0_usize;
    loop {
        match reader.read_event().map_err(|error| wrong(error.to_string()))? {
            Event::Start(element) => {
                depth += 1;
                if depth > DEPTH {
                    return Err(Unreadable::TooMuch(format!("{what} nests deeper than {DEPTH} elements")));
                }
                see(Seen::Start(&element));
            }
            Event::Empty(element) => {
                see(Seen::Start(&element));
                see(Seen::End);
            }
            Event::End(_) => {
                depth = depth.saturating_sub(1);
                see(Seen::End);
            }
            Event::Text(text) => see(Seen::Text(&text.xml10_content())),
            Event::CData(text) => see(Seen::Text(&text.xml10_content())),
            Event::GeneralRef(reference) => {
                let character = reference.resolve_char_ref().ok().flatten();
                let predefined = quick_xml::escape::resolve_predefined_entity(&reference);
                let mut buffer = [0; 4];
                see(Seen::Text(character.map(|c| &*c.encode_utf8(&mut buffer)).or(predefined).unwrap_or_default()));
            }
            Event::Eof if depth > 0 => return Err(wrong("it ends in the middle".into())),
            Event::Eof => return Ok(()),
            _ => {}
        }
    }
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Option<String> {
    let attribute = element.attributes().flatten().find(|attribute| attribute.key.as_ref() == name)?;
    let value = attribute.normalized_value(quick_xml::XmlVersion::Implicit1_0).ok()?;
    Some(value.into_owned())
}

/// The entry that `href` names, beside the entry `base`; none if it leads out of the archive.
fn resolve(base: &str, href: &str) -> Option<String> {
    let href = href.split(['#', '?']).next().unwrap_or_default();
    let href = percent_decode_str(href).decode_utf8().ok()?;
    if href.starts_with('/') || href.contains(['\\', '\0']) || href.is_empty() {
        return None;
    }
    let mut path: Vec<&str> = base.rsplit_once('/').map_or(Vec::new(), |(folder, _)| folder.split('/').collect());
    for segment in href.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                path.pop()?;
            }
            segment => path.push(segment),
        }
    }
    Some(path.join("/"))
}

/// A picture by how it begins. An SVG is none: it can run scripts.
fn picture(bytes: Vec<u8>) -> Option<Cover> {
    let format = match &bytes[..] {
        [0xff, 0xd8, 0xff, ..] => "jpg",
        [0x89, b'P', b'N', b'G', ..] => "png",
        [b'G', b'I', b'F', b'8', ..] => "gif",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "webp",
        _ => return None,
    };
    Some(Cover { format, bytes })
}

#[cfg(test)]
#[path = "epub_tests.rs"]
mod tests;
