//! Books as they are, and files that want to do harm.

use std::io::Write;

use zip::write::SimpleFileOptions;

use super::*;

const CONTAINER: &str = r#"<?xml version="1.0"?><container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">
    <rootfiles><rootfile full-path="OEBPS/content.opf" media-type="application/oebps-package+xml"/></rootfiles></container>"#;

fn archive(entries: &[(&str, &[u8])]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let mut writer = zip::ZipWriter::new(&mut file);
    for (name, content) in entries {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap();
    file
}

fn book(package: &str, more: &[(&str, &[u8])]) -> Result<Epub, Unreadable> {
    let mut entries = vec![
        ("mimetype", &b"application/epub+zip"[..]),
        ("META-INF/container.xml", CONTAINER.as_bytes()),
        ("OEBPS/content.opf", package.as_bytes()),
    ];
    entries.extend_from_slice(more);
    read(archive(&entries).path())
}

fn package(metadata: &str, manifest: &str) -> String {
    format!(
        r#"<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0">
           <metadata xmlns:dc="http://purl.org/dc/elements/1.1/">{metadata}</metadata><manifest>{manifest}</manifest></package>"#
    )
}

const JPEG: &[u8] = b"\xff\xd8\xff\xe0 a picture";

#[test]
fn title_author_series_and_cover_are_read() {
    let metadata = r##"<dc:title>Sense &amp; Sensibility</dc:title><dc:creator>Austen, Jane</dc:creator><dc:creator>Another</dc:creator>
        <meta property="belongs-to-collection" id="c1">The &#x41;usten Novels</meta><meta refines="#c1" property="group-position">1</meta>"##;
    let manifest = r#"<item id="p" href="images/the%20cover.jpg" media-type="image/jpeg" properties="cover-image"/>"#;
    let epub = book(&package(metadata, manifest), &[("OEBPS/images/the cover.jpg", JPEG)]).unwrap();
    assert_eq!((epub.title.as_str(), epub.author.as_str()), ("Sense & Sensibility", "Austen, Jane"));
    assert_eq!(epub.series, Some(("The Austen Novels".into(), Some(1.0))));
    assert_eq!(epub.cover, Some(Cover { format: "jpg", bytes: JPEG.to_vec() }));
}

#[test]
fn what_older_books_say_is_read_too() {
    let metadata = r#"<dc:title>Emma</dc:title><meta name="cover" content="pic"/>
        <meta name="calibre:series" content="Austen"/><meta name="calibre:series_index" content="4.5"/>"#;
    let manifest = r#"<item id="pic" href="../cover.png" media-type="image/png"/>"#;
    let epub = book(&package(metadata, manifest), &[("cover.png", b"\x89PNG....")]).unwrap();
    assert_eq!((epub.author.as_str(), epub.series), ("Unknown", Some(("Austen".into(), Some(4.5)))));
    assert_eq!(epub.cover.unwrap().format, "png");
}

#[test]
fn a_cover_that_is_no_picture_or_lies_outside_is_left_out() {
    for (href, content) in [
        ("cover.svg", &b"<svg onload='alert(1)'/>"[..]),
        ("cover.jpg", b"<html>"),
        ("../../../etc/passwd", JPEG),
        ("/etc/passwd", JPEG),
        ("..\\..\\x.jpg", JPEG),
    ] {
        let manifest = format!(r#"<item id="c" href="{href}" properties="cover-image"/>"#);
        let entry = format!("OEBPS/{href}");
        let epub = book(&package("<dc:title>T</dc:title>", &manifest), &[(&entry, content)]).unwrap();
        assert_eq!(epub.cover, None, "{href}");
    }
}

#[test]
fn a_bomb_is_not_unpacked() {
    let mut bomb = package("<dc:title>T</dc:title>", "").into_bytes();
    bomb.resize(64 << 20, b' ');
    let error = book(std::str::from_utf8(&bomb).unwrap(), &[]).unwrap_err();
    assert!(error.to_string().contains("unpacks to more than"), "{error}");
    let zeros = vec![0; COVER_BYTES + 1];
    let manifest = r#"<item id="c" href="c.jpg" properties="cover-image"/>"#;
    let epub = book(&package("<dc:title>T</dc:title>", manifest), &[("OEBPS/c.jpg", &zeros)]).unwrap();
    assert_eq!(epub.cover, None);
}

#[test]
fn an_archive_of_very_many_entries_is_refused_before_it_is_opened() {
    let mut bytes = Vec::new();
    for _ in 0..=ENTRIES {
        bytes.extend_from_slice(b"PK\x01\x02");
    }
    assert!(matches!(bound_entries(&mut &bytes[..]), Err(Unreadable::TooMuch(_))));
    assert!(bound_entries(&mut &bytes[4..]).is_ok());
    // Also where an entry begins at the end of what is read at once.
    assert!(bound_entries(&mut &b"PPK\x01\x02"[..]).is_ok());
}

#[test]
fn entities_that_grow_are_not_followed() {
    let bomb = r#"<?xml version="1.0"?><!DOCTYPE p [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
        <package><metadata><title>x&b;&b;y</title></metadata></package>"#;
    assert_eq!(book(bomb, &[]).unwrap().title, "xy");
}

#[test]
fn a_document_that_nests_without_end_is_refused() {
    let deep = format!("<package>{}", "<a>".repeat(100_000));
    assert!(matches!(book(&deep, &[]), Err(Unreadable::TooMuch(_))));
}

#[test]
fn what_is_no_book_is_refused_with_a_sentence() {
    let no_title = book(&package("<dc:title> \n </dc:title>", ""), &[]).unwrap_err();
    assert!(no_title.to_string().contains("no title"), "{no_title}");
    let torn = book("<package><metadata><title>T</title>", &[]).unwrap_err();
    assert!(torn.to_string().contains("package document"), "{torn}");
    let empty = read(archive(&[("a.txt", b"x")]).path()).unwrap_err();
    assert!(empty.to_string().contains("META-INF/container.xml"), "{empty}");
    let outside = CONTAINER.replace("OEBPS/content.opf", "../../etc/passwd");
    let outside = read(archive(&[("META-INF/container.xml", outside.as_bytes())]).path()).unwrap_err();
    assert!(outside.to_string().contains("package document"), "{outside}");
    let mut text = tempfile::NamedTempFile::new().unwrap();
    text.write_all(b"this is a text").unwrap();
    assert!(read(text.path()).unwrap_err().to_string().contains("no .epub"));
}

#[test]
fn a_file_cut_anywhere_is_an_error_and_no_panic() {
    let whole = archive(&[("META-INF/container.xml", CONTAINER.as_bytes()), ("OEBPS/content.opf", b"<package/>")]);
    let whole = std::fs::read(whole.path()).unwrap();
    for end in (0..whole.len()).step_by(7) {
        let mut cut = tempfile::NamedTempFile::new().unwrap();
        cut.write_all(&whole[..end]).unwrap();
        assert!(read(cut.path()).is_err(), "{end}");
    }
}
