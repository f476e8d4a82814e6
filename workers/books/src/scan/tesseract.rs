//! The program `tesseract`, as a child.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::place::Place;
use crate::report::Failure;

/// The most that it may write. A full page of TSV has some 100 KB.
const OUTPUT: u64 = 8 << 20;

/// The most of its complaint that is told.
const COMPLAINT: u64 = 300;

/// The longest word that is taken, in characters. What is longer is an edge that was taken for letters.
const WORD: usize = 60;

/// How `tesseract` is run: <https://tesseract-ocr.github.io/tessdoc/Command-Line-Usage.html>.
#[derive(Clone, Debug)]
pub struct Tesseract {
    /// The program. Default `tesseract`, wherever `PATH` has it.
    pub path: PathBuf,
    /// The languages that are read, as it names its files for them: `eng`, `eng+deu`. Default `eng`, the one that it
    /// always comes with.
    pub languages: String,
    /// The longest one reading of the photo may take. Default 60 s. There are six.
    pub timeout: Duration,
}

impl Default for Tesseract {
    fn default() -> Self {
        Tesseract { path: "tesseract".into(), languages: "eng".into(), timeout: Duration::from_secs(60) }
    }
}

/// A word that it read, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The word.
    pub text: String,
    /// How sure it is, from 0 to 1.
    pub confidence: f64,
    /// The line that it belongs to: page, block, paragraph and line.
    pub line: [u32; 4],
    /// Where it stands.
    pub place: Place,
}

/// How it is decided what is ink and what is paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// By one bound for the whole image (Otsu's method): best in even light.
    Even,
    /// By a bound for each place (Sauvola's method): best where a part is in the shadow.
    Local,
}

/// Which way up it reads. Both look for text in no order, wherever it stands: spines are no page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WayUp {
    /// As the image comes.
    AsIs,
    /// As most of the text is found to stand. It finds more, but of spines that are printed the other way nothing.
    AsMost,
}

impl Tesseract {
    /// The words on an image in grey. Dropping the future kills the child.
    pub async fn words(&self, image: &image::GrayImage, up: WayUp, ink: Ink) -> Result<Vec<Found>, Failure> {
        let reading = self.tsv(pgm(image), up, ink);
        let tsv = tokio::time::timeout(self.timeout, reading).await.map_err(|_| {
            Failure::new(
                "ocr-too-slow",
                format!("tesseract did not read the photo within {} s", self.timeout.as_secs()),
            )
        })??;
        Ok(tsv.lines().filter_map(word).collect())
    }

    async fn tsv(&self, image: Vec<u8>, up: WayUp, ink: Ink) -> Result<String, Failure> {
        let mut command = Command::new(&self.path);
        command
            .args(["stdin", "stdout", "-l", &self.languages])
            .args(["--psm", up.argument(), "-c", ink.argument(), "tsv"])
            // Two threads that wait for each other are slower than one, and this is not alone on the machine.
            .env("OMP_THREAD_LIMIT", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| self.missing(&error))?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let write = async {
            if let Some(mut stdin) = stdin {
                // It may end without having read all, and says on stderr why.
                let _ = stdin.write_all(&image).await;
            }
        };
        let ((), tsv, complaint) = tokio::join!(write, all_of(stdout, OUTPUT), all_of(stderr, COMPLAINT));
        let ended = child.wait().await.map_err(|error| failed(&error.to_string()))?;
        if ended.success() { Ok(tsv) } else { Err(failed(complaint.trim())) }
    }

    fn missing(&self, error: &std::io::Error) -> Failure {
        let sentence =
            format!("{} can't be run ({error}): install tesseract-ocr or set --vision-url", self.path.display());
        Failure::new("no-ocr", sentence)
    }
}

impl WayUp {
    fn argument(self) -> &'static str {
        match self {
            WayUp::AsIs => "11",
            WayUp::AsMost => "12",
        }
    }
}

impl Ink {
    fn argument(self) -> &'static str {
        match self {
            Ink::Even => "thresholding_method=0",
            Ink::Local => "thresholding_method=2",
        }
    }
}

fn failed(why: &str) -> Failure {
    Failure::new("ocr-failed", format!("tesseract failed: {why}"))
}

/// All that a pipe says, up to a bound; what comes after it is read and dropped, so that the child can end.
async fn all_of(pipe: Option<impl AsyncRead + Unpin>, most: u64) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        let _ = (&mut pipe).take(most).read_to_end(&mut bytes).await;
        let _ = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The image as a binary portable graymap, the simplest form that `tesseract` reads.
fn pgm(image: &image::GrayImage) -> Vec<u8> {
    let mut bytes = format!("P5\n{} {}\n255\n", image.width(), image.height()).into_bytes();
    bytes.extend_from_slice(image.as_raw());
    bytes
}

/// The word in a line of its TSV: level, page, block, paragraph, line, word, left, top, width, height, confidence,
/// text. Words have level 5; their confidence goes up to 100.
fn word(line: &str) -> Option<Found> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [level, page, block, paragraph, row, _, left, top, width, height, confidence, text] = fields[..] else {
        return None;
    };
    // No image is as large as that; sums of such numbers stay in their type.
    let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number < 1 << 24);
    let confidence: f64 = confidence.parse().ok().filter(|sure| (0.0..=100.0).contains(sure))?;
    let text = text.trim();
    let place = Place { left: number(left)?, top: number(top)?, width: number(width)?, height: number(height)? };
    let line = [number(page)?, number(block)?, number(paragraph)?, number(row)?];
    let is_word = level == "5" && !text.is_empty() && text.chars().count() <= WORD;
    is_word.then(|| Found { text: text.into(), confidence: confidence / 100.0, line, place })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_from_its_table_and_all_else_is_passed_over() {
        let found = word("5\t1\t2\t1\t3\t1\t10\t20\t80\t30\t96.063751\tDune").unwrap();
        assert_eq!((found.text.as_str(), found.line), ("Dune", [1, 2, 1, 3]));
        assert!((found.confidence - 0.96).abs() < 0.01);
        assert_eq!(found.place, Place { left: 10, top: 20, width: 80, height: 30 });
        for line in [
            "level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext",
            "4\t1\t2\t1\t3\t0\t10\t20\t80\t30\t-1\t",
            "5\t1\t2\t1\t3\t1\t10\t20\t80\t30\t-1\tx",
            "5\t1\t2\t1\t3\t1\t10\t20\t80\t30\t95\t  ",
            "5\t1\t2\t1\t3\t1\t10\t20\t-80\t30\t95\tx",
            "5\t1\t2\t1\t3\t1\t10\t20\t4294967295\t30\t95\tx",
            "5\t1\t2\t1\t3\t1\t10\t20\t80\t30\tNaN\tx",
            "5\t1",
            "",
        ] {
            assert_eq!(word(line), None, "{line}");
        }
    }

    #[tokio::test]
    async fn a_missing_program_is_told_with_what_to_do() {
        let tesseract = Tesseract { path: "/nonexistent/tesseract".into(), ..Tesseract::default() };
        let failure = tesseract.words(&image::GrayImage::new(1, 1), WayUp::AsIs, Ink::Even).await.unwrap_err();
        assert_eq!(failure.code, "no-ocr");
        assert!(failure.message.ends_with("install tesseract-ocr or set --vision-url"), "{}", failure.message);
    }

    #[tokio::test]
    async fn a_language_that_is_not_installed_is_told_in_its_own_words() {
        let tesseract = Tesseract { languages: "xx-none".into(), ..Tesseract::default() };
        let failure = tesseract.words(&image::GrayImage::new(50, 50), WayUp::AsIs, Ink::Even).await.unwrap_err();
        assert_eq!(failure.code, "ocr-failed");
        assert!(failure.message.contains("xx-none"), "{}", failure.message);
    }
}
