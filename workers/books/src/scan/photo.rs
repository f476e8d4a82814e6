//! The photo: whether it is one, and that it is of a sensible size.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::codecs::jpeg::JpegEncoder;
use image::imageops::{self, FilterType};
use image::{DynamicImage, GenericImageView, ImageDecoder, ImageFormat, ImageReader};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::report::Failure;

/// How large a photo may be.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The most bytes of the file. Default 25 MiB: what phones make has up to 15.
    pub bytes: u64,
    /// The most pixels. Default 50 million, which is a camera of today.
    pub pixels: u64,
    /// The most bytes that it takes when it is decoded. Default 150 MB: so many pixels of three bytes. A PNG may have
    /// eight bytes to a pixel, and be a thousand times smaller as a file.
    pub decoded: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { bytes: 25 << 20, pixels: 50_000_000, decoded: 150_000_000 }
    }
}

/// The longest side, in pixels: what a JPEG can have. A strip that is one pixel high is made smaller at sixteen bytes to each.
const LONGEST: u32 = 65_535;

/// One photo is in memory at a time, however many scans there are at once: one takes up to half a gigabyte while it is
/// decoded and made smaller, and a second of time.
static TURN: Semaphore = Semaphore::const_new(1);

/// A photo the way up in which it was taken. The next one is not opened before it is dropped: what is wanted of it
/// consumes it.
#[derive(Debug)]
pub struct Photo {
    image: DynamicImage,
    _turn: Option<SemaphorePermit<'static>>,
}

impl Photo {
    /// Reads a JPEG or PNG. Decoding is done on a thread for such work.
    pub async fn open(path: &Path, limits: &Limits) -> Result<Photo, Failure> {
        let (path, limits) = (PathBuf::from(path), limits.clone());
        let turn = TURN.acquire().await.expect("it is never closed");
        // It goes along: the thread works on when nobody waits for it any more.
        blocking(move || Ok(Photo { _turn: Some(turn), ..Photo::read(&path, &limits)? })).await?
    }

    fn read(path: &Path, limits: &Limits) -> Result<Photo, Failure> {
        let unreadable = |error| Failure::passing("unreadable-file", format!("the photo can't be read: {error}"));
        let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
        if bytes > limits.bytes {
            return Err(too_large(format!("{bytes} bytes; at most {} are taken", limits.bytes)));
        }
        Photo::decode(&std::fs::read(path).map_err(unreadable)?, limits)
    }

    fn decode(bytes: &[u8], limits: &Limits) -> Result<Photo, Failure> {
        if bytes.is_empty() {
            return Err(Failure::new("not-an-image", "the file is empty"));
        }
        match image::guess_format(bytes) {
            Ok(ImageFormat::Jpeg | ImageFormat::Png) => {}
            Ok(other) => return Err(not_an_image(format!("it is {}", other.to_mime_type()))),
            Err(_) => return Err(not_an_image("it is no picture of a known kind".into())),
        }
        let reader = || ImageReader::new(Cursor::new(bytes)).with_guessed_format();
        let (width, height) = reader()
            .map_err(image::ImageError::from)
            .and_then(|reader| reader.into_dimensions())
            .map_err(|error| not_an_image(error.to_string()))?;
        // The size that the head of the file says, before any memory is taken for it.
        let pixels = u64::from(width) * u64::from(height);
        if pixels > limits.pixels {
            return Err(too_large(format!("{width} × {height} pixels; at most {} are taken", limits.pixels)));
        }
        if width.max(height) > LONGEST {
            return Err(too_large(format!("{width} × {height} pixels; a side may have at most {LONGEST}")));
        }
        let mut decoder = reader()
            .map_err(image::ImageError::from)
            .and_then(|reader| reader.into_decoder())
            .map_err(|error| not_an_image(error.to_string()))?;
        let decoded = decoder.total_bytes();
        if decoded > limits.decoded {
            let most = limits.decoded;
            return Err(too_large(format!("{width} × {height} pixels of {decoded} bytes; at most {most} are taken")));
        }
        let orientation = decoder.orientation();
        let mut image = DynamicImage::from_decoder(decoder).map_err(|error| not_an_image(error.to_string()))?;
        if let Ok(orientation) = orientation {
            image.apply_orientation(orientation);
        }
        Ok(Photo { image, _turn: None })
    }

    /// Its width and height.
    pub fn size(&self) -> (u32, u32) {
        self.image.dimensions()
    }

    /// In grey, its longer side between `least` and `most` pixels.
    pub fn grey(self, least: u32, most: u32) -> image::GrayImage {
        let (width, height) = self.size();
        let long = width.max(height).max(1);
        let wanted = long.clamp(least, most);
        let grey = self.image.into_luma8();
        if wanted == long {
            return grey;
        }
        let scaled = |side: u32| (u64::from(side) * u64::from(wanted) / u64::from(long)).max(1) as u32;
        imageops::resize(&grey, scaled(width), scaled(height), FilterType::Triangle)
    }

    /// As a JPEG whose longer side has at most `most` pixels, and in which nothing else is left of what the file
    /// said: a phone writes the place into it.
    pub fn jpeg(self, most: u32) -> Result<Vec<u8>, Failure> {
        let (width, height) = self.size();
        let is_large = width.max(height) > most;
        let image = if is_large { self.image.resize(most, most, FilterType::Triangle) } else { self.image };
        let image = image.into_rgb8();
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, 85)
            .encode_image(&image)
            .map_err(|error| not_an_image(error.to_string()))?;
        Ok(bytes)
    }
}

/// What `work` gives, on a thread that may block. It can't be canceled; it takes a second at most.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    // It is lost only if it panicked, or the program is about to end.
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Failure::passing("unreadable-file", "the photo could not be worked on"))
}

fn not_an_image(why: String) -> Failure {
    Failure::new("not-an-image", format!("the file is no JPEG or PNG that can be read: {why}"))
}

fn too_large(what: String) -> Failure {
    Failure::new("photo-too-large", format!("the photo has {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::new_rgb8(width, height).write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    fn code(bytes: &[u8], limits: &Limits) -> (String, String) {
        let failure = Photo::decode(bytes, limits).unwrap_err();
        assert!(!failure.retryable);
        (failure.code, failure.message)
    }

    #[test]
    fn what_is_no_picture_is_refused_with_what_it_is() {
        let limits = Limits::default();
        let cut = &png(40, 30)[..60];
        for (bytes, word) in [
            (&b""[..], "empty"),
            (b"title,author\nDune,Frank Herbert\n", "no picture"),
            (b"PK\x03\x04zip", "no picture"),
            (b"GIF89a\x01\x00\x01\x00", "image/gif"),
            (b"\xff\xd8\xff\xe0 no jpeg", ""),
            (cut, ""),
        ] {
            let (code, message) = code(bytes, &limits);
            assert_eq!(code, "not-an-image");
            assert!(message.contains(word), "{message}");
        }
    }

    #[test]
    fn a_picture_with_too_many_pixels_is_refused_by_its_head_alone() {
        let limits = Limits { pixels: 1000, ..Limits::default() };
        let (code, message) = code(&png(50, 21), &limits);
        assert_eq!((code.as_str(), message.contains("50 × 21 pixels; at most 1000")), ("photo-too-large", true));
        assert!(Photo::decode(&png(50, 20), &limits).is_ok());
        // A file of some bytes that says it has 16 gigapixels.
        assert_eq!(code_of(&says(0x1_ffff, 0x1_ffff, RGB8)), "photo-too-large");
    }

    #[test]
    fn a_picture_is_refused_by_what_it_takes_in_memory_and_not_by_its_pixels_alone() {
        // Zeros in deep colour: a file of 381 KB that took 392 MB, and each copy of it as much again.
        let (code, message) = code(&says(7000, 7000, RGBA16), &Limits::default());
        assert_eq!((code.as_str(), message.contains("392000000 bytes")), ("photo-too-large", true), "{message}");
        let limits = Limits { decoded: 40 * 30 * 3, ..Limits::default() };
        assert!(Photo::decode(&png(40, 30), &limits).is_ok());
        assert!(Photo::decode(&png(40, 31), &limits).is_err());
    }

    #[test]
    fn a_strip_is_refused() {
        assert_eq!(code_of(&says(50_000_000, 1, RGB8)), "photo-too-large");
    }

    #[tokio::test]
    async fn a_photo_is_opened_when_the_one_before_it_is_done_with() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), png(40, 30)).unwrap();
        let limits = Limits::default();
        let photo = Photo::open(file.path(), &limits).await.unwrap();
        assert!(TURN.try_acquire().is_err());
        // What is made of it needs no turn.
        let grey = photo.grey(10, 20);
        let photo = Photo::open(file.path(), &limits).await.unwrap();
        assert!(TURN.try_acquire().is_err());
        let jpeg = photo.jpeg(10).unwrap();
        drop(Photo::open(file.path(), &limits).await.unwrap());
        drop((grey, jpeg));
        // Nor does one that is refused keep it.
        assert!(Photo::open(file.path(), &Limits { bytes: 1, ..limits.clone() }).await.is_err());
        assert!(Photo::open(file.path(), &limits).await.is_ok());
    }

    /// The depth and the kind of colour, as the head of a PNG has them.
    const RGB8: [u8; 2] = [8, 2];
    const RGBA16: [u8; 2] = [16, 6];

    /// A file of some bytes whose head says so.
    fn says(width: u32, height: u32, color: [u8; 2]) -> Vec<u8> {
        let mut bytes = png(1, 1);
        bytes[16..20].copy_from_slice(&width.to_be_bytes());
        bytes[20..24].copy_from_slice(&height.to_be_bytes());
        bytes[24..26].copy_from_slice(&color);
        let crc = crc32(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    fn code_of(bytes: &[u8]) -> String {
        code(bytes, &Limits::default()).0
    }

    /// The checksum of a PNG's chunk (ISO 3309).
    fn crc32(bytes: &[u8]) -> u32 {
        let step = |crc: u32| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
        !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
    }

    #[tokio::test]
    async fn a_file_with_too_many_bytes_is_refused_before_it_is_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 40).unwrap();
        let failure = Photo::open(file.path(), &Limits::default()).await.unwrap_err();
        assert_eq!(failure.code, "photo-too-large");
        let failure = Photo::open(Path::new("/nonexistent/photo"), &Limits::default()).await.unwrap_err();
        assert_eq!((failure.code.as_str(), failure.retryable), ("unreadable-file", true));
    }

    #[test]
    fn a_photo_taken_sideways_is_turned_as_its_file_says() {
        let mut jpeg = Cursor::new(Vec::new());
        DynamicImage::new_rgb8(40, 20).write_to(&mut jpeg, ImageFormat::Jpeg).unwrap();
        let mut jpeg = jpeg.into_inner();
        // Exif: one entry, the orientation (0x0112), a short: 6, to be turned right.
        let exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        let length = (exif.len() as u16 + 2).to_be_bytes();
        jpeg.splice(2..2, [&[0xff, 0xe1], &length[..], exif].concat());
        let photo = Photo::decode(&jpeg, &Limits::default()).unwrap();
        assert_eq!(photo.size(), (20, 40));
        let sent = photo.jpeg(100).unwrap();
        assert!(!sent.windows(4).any(|bytes| bytes == b"Exif"), "what a camera writes into a file is not sent");
    }

    #[test]
    fn a_photo_is_brought_to_the_size_that_reads_best() {
        let photo = || Photo::decode(&png(400, 100), &Limits::default()).unwrap();
        assert_eq!(photo().grey(800, 1000).dimensions(), (800, 200));
        assert_eq!(photo().grey(100, 200).dimensions(), (200, 50));
        assert_eq!(photo().grey(100, 1000).dimensions(), (400, 100));
        let jpeg = photo().jpeg(200).unwrap();
        assert_eq!(Photo::decode(&jpeg, &Limits::default()).unwrap().size(), (200, 50));
    }
}
