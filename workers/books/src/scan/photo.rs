//! The photo: whether it is one, and that it is of a sensible size.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::codecs::jpeg::JpegEncoder;
use image::imageops::{self, FilterType};
use image::{DynamicImage, GenericImageView, ImageDecoder, ImageFormat, ImageReader};

use crate::report::Failure;

/// How large a photo may be.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The most bytes of the file. Default 20 MiB: what phones make has up to 15.
    pub bytes: u64,
    /// The most pixels. Default 50 million, which is a camera of today; each takes four bytes of memory for a moment.
    pub pixels: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { bytes: 20 << 20, pixels: 50_000_000 }
    }
}

/// A photo the way up in which it was taken. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Photo(Arc<DynamicImage>);

impl Photo {
    /// Reads a JPEG or PNG. Decoding is done on a thread for such work.
    pub async fn open(path: &Path, limits: &Limits) -> Result<Photo, Failure> {
        let (path, limits) = (PathBuf::from(path), limits.clone());
        blocking(move || Photo::read(&path, &limits)).await?
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
        let mut decoder = reader()
            .map_err(image::ImageError::from)
            .and_then(|reader| reader.into_decoder())
            .map_err(|error| not_an_image(error.to_string()))?;
        let orientation = decoder.orientation();
        let mut image = DynamicImage::from_decoder(decoder).map_err(|error| not_an_image(error.to_string()))?;
        if let Ok(orientation) = orientation {
            image.apply_orientation(orientation);
        }
        Ok(Photo(Arc::new(image)))
    }

    /// Its width and height.
    pub fn size(&self) -> (u32, u32) {
        self.0.dimensions()
    }

    /// In grey, its longer side between `least` and `most` pixels.
    pub fn grey(&self, least: u32, most: u32) -> image::GrayImage {
        let (width, height) = self.size();
        let long = width.max(height).max(1);
        let wanted = long.clamp(least, most);
        let grey = self.0.to_luma8();
        if wanted == long {
            return grey;
        }
        let scaled = |side: u32| (u64::from(side) * u64::from(wanted) / u64::from(long)).max(1) as u32;
        imageops::resize(&grey, scaled(width), scaled(height), FilterType::Triangle)
    }

    /// As a JPEG whose longer side has at most `most` pixels, and in which nothing else is left of what the file
    /// said: a phone writes the place into it.
    pub fn jpeg(&self, most: u32) -> Result<Vec<u8>, Failure> {
        let (width, height) = self.size();
        let is_large = width.max(height) > most;
        let image = if is_large { self.0.resize(most, most, FilterType::Triangle).to_rgb8() } else { self.0.to_rgb8() };
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
        let mut bomb = png(1, 1);
        bomb[16..24].copy_from_slice(&[0, 1, 0xff, 0xff, 0, 1, 0xff, 0xff]);
        let crc = crc32(&bomb[12..29]);
        bomb[29..33].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(code_of(&bomb), "photo-too-large");
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
        let photo = Photo::decode(&png(400, 100), &Limits::default()).unwrap();
        assert_eq!(photo.grey(800, 1000).dimensions(), (800, 200));
        assert_eq!(photo.grey(100, 200).dimensions(), (200, 50));
        assert_eq!(photo.grey(100, 1000).dimensions(), (400, 100));
        let jpeg = photo.jpeg(200).unwrap();
        assert_eq!(Photo::decode(&jpeg, &Limits::default()).unwrap().size(), (200, 50));
    }
}
