//! Spines from words: which words stand on one spine, and which are noise.
//!
//! Most spines are printed along, to be read with the head to the right, in some countries to the left, and thick
//! ones across. So the photo is read upright and turned both ways, and in two ways to tell ink from paper, as some spines
//! stand in the shadow; where two readings claim a place, the better one has it.

use image::GrayImage;
use image::imageops::{rotate90, rotate180, rotate270};

use super::photo::{Photo, blocking};
use super::spine::{Spine, Word};
use super::tesseract::{Found, Ink, Place, Tesseract, WayUp};
use crate::report::{Failure, Report};

/// The longer side of what is read, in pixels. Below, letters are too small for the reader; above, it takes long and
/// reads no better.
const SIDE: (u32, u32) = (1600, 3200);

/// How sure a word must be to be taken at all, from 0 to 1. Marks and edges that are taken for letters stay below.
const WORD: f64 = 0.3;

/// How sure a spine must be.
const SPINE: f64 = 0.5;

/// How many letters a spine must have, in one word at least three of them.
const LETTERS: usize = 4;

/// The most words of one reading; a full shelf has some hundreds. What has more is no shelf.
const WORDS: usize = 2000;

/// How far apart two lines may stand along a spine to belong together, in heights of their letters: a title stands at
/// one end and the author at the other.
const APART_ALONG: u32 = 25;

/// The same for words across, where the next spine stands just beside.
const APART_ACROSS: u32 = 2;

/// The readings of a photo, each of a second or two. Not all that there could be: few spines are printed across, and
/// where most are printed is found by itself.
const READINGS: [(Turn, WayUp, Ink); 6] = [
    (Turn::None, WayUp::AsIs, Ink::Even),
    (Turn::Left, WayUp::AsMost, Ink::Even),
    (Turn::Left, WayUp::AsMost, Ink::Local),
    (Turn::Left, WayUp::AsIs, Ink::Local),
    (Turn::Right, WayUp::AsIs, Ink::Even),
    (Turn::Right, WayUp::AsIs, Ink::Local),
];

/// How the photo is turned for one reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    None,
    /// Upside down. Nothing is read so, but a reader may find it so.
    Over,
    /// A quarter to the right: spines that are read from bottom to top.
    Right,
    /// A quarter to the left: spines that are read from top to bottom.
    Left,
}

/// A spine and its place in the upright photo.
#[derive(Clone, Debug)]
struct Placed {
    spine: Spine,
    place: Place,
}

/// The spines on a photo, from the left.
pub async fn read(photo: &Photo, tesseract: &Tesseract, report: &dyn Report) -> Result<Vec<Spine>, Failure> {
    let photo = photo.clone();
    let grey = blocking(move || photo.grey(SIDE.0, SIDE.1)).await?;
    let size = grey.dimensions();
    let mut found = Vec::new();
    let mut turned = (Turn::None, grey.clone());
    for (turn, up, ink) in READINGS {
        report.progress(0, None, Some(turn.message()), None);
        if turn != turned.0 {
            let source = grey.clone();
            turned = (turn, blocking(move || turn.of(source)).await?);
        }
        let words = tesseract.words(&turned.1, up, ink).await?;
        found.extend(spines(words, turn, size));
    }
    Ok(best(found))
}

impl Turn {
    fn message(self) -> &'static str {
        match self {
            Turn::Left => "reading the spines from top to bottom",
            Turn::Right => "reading the spines from bottom to top",
            Turn::None | Turn::Over => "reading what is printed across",
        }
    }

    fn of(self, image: GrayImage) -> GrayImage {
        match self {
            Turn::None => image,
            Turn::Over => rotate180(&image),
            Turn::Right => rotate90(&image),
            Turn::Left => rotate270(&image),
        }
    }

    /// The same turn, and the image upside down.
    fn over(self) -> Turn {
        match self {
            Turn::None => Turn::Over,
            Turn::Over => Turn::None,
            Turn::Left => Turn::Right,
            Turn::Right => Turn::Left,
        }
    }

    /// The size of the turned image.
    fn size(self, (width, height): (u32, u32)) -> (u32, u32) {
        match self {
            Turn::None | Turn::Over => (width, height),
            Turn::Right | Turn::Left => (height, width),
        }
    }

    /// A place of the turned image in the upright one, which is `width` × `height`.
    fn back(self, place: Place, (width, height): (u32, u32)) -> Place {
        let Place { left, top, width: w, height: h } = place;
        match self {
            Turn::None => place,
            Turn::Over => {
                Place { left: width.saturating_sub(left + w), top: height.saturating_sub(top + h), width: w, height: h }
            }
            Turn::Right => Place { left: top, top: height.saturating_sub(left + w), width: h, height: w },
            Turn::Left => Place { left: width.saturating_sub(top + h), top: left, width: h, height: w },
        }
    }
}

/// The spines of one reading: its lines, those on one level joined.
fn spines(mut words: Vec<Found>, turn: Turn, size: (u32, u32)) -> Vec<Placed> {
    words.retain(is_word);
    words.truncate(WORDS);
    let mut words = once_each(words);
    let (mut turn, apart) = match turn {
        Turn::None => (turn, APART_ACROSS),
        _ => (turn, APART_ALONG),
    };
    if is_upside_down(&words) {
        turn = turn.over();
        let (width, height) = turn.size(size);
        for Place { left, top, width: w, height: h } in words.iter_mut().map(|word| &mut word.place) {
            (*left, *top) = (width.saturating_sub(*left + *w), height.saturating_sub(*top + *h));
        }
    }
    let lines = lines(&words);
    let shelves = shelves(&lines);
    let mut bands: Vec<Band> = Vec::new();
    for line in lines {
        let place = line.place;
        match bands.iter_mut().find(|band| continues(band.place(), place, apart)) {
            Some(band) => band.0.push(line),
            None => bands.push(Band(vec![line])),
        }
    }
    bands.sort_by_key(|band| band.place().top);
    stacks(bands).iter().filter_map(|stack| stack_of(stack, &shelves, turn, size)).collect()
}

/// Words that were read as one line.
struct Line<'a> {
    words: Vec<&'a Found>,
    place: Place,
}

/// Lines on one level, in the order in which they are read.
struct Band<'a>(Vec<Line<'a>>);

impl Band<'_> {
    fn place(&self) -> Place {
        around(self.0.iter().map(|line| line.place))
    }
}

/// The lines, from the left.
fn lines(words: &[Found]) -> Vec<Line<'_>> {
    let mut lines: Vec<Line> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if line.words[0].line == word.line => line.words.push(word),
            _ => lines.push(Line { words: vec![word], place: word.place }),
        }
    }
    for line in &mut lines {
        line.place = around(line.words.iter().map(|word| word.place));
    }
    lines.sort_by_key(|line| line.place.left);
    lines
}

/// Where no line of the whole photo has any text, from left to right: between two shelves, most likely.
fn shelves(lines: &[Line]) -> Vec<u32> {
    let mut shelves = Vec::new();
    let mut end = None;
    for Place { left, width, .. } in lines.iter().map(|line| line.place) {
        if let Some(end) = end.filter(|end| *end < left) {
            shelves.push(end + (left - end) / 2);
        }
        end = end.max(Some(left + width));
    }
    shelves
}

/// Bands that stand so close that they may be the lines of one spine.
fn stacks(bands: Vec<Band>) -> Vec<Vec<Band>> {
    let mut stacks: Vec<Vec<Band>> = Vec::new();
    for band in bands {
        let place = band.place();
        let above = stacks.iter_mut().rev().find(|stack| {
            stack.last().is_some_and(|last| {
                let last = last.place();
                let gap = place.top.saturating_sub(last.top + last.height);
                let side_by_side = overlap(last.left, last.width, place.left, place.width);
                side_by_side > 0 && gap * 2 <= last.height.min(place.height)
            })
        });
        match above {
            Some(stack) => stack.push(band),
            None => stacks.push(vec![band]),
        }
    }
    stacks
}

/// The spine of a stack; its parts are its bands.
fn stack_of(stack: &[Band], shelves: &[u32], turn: Turn, size: (u32, u32)) -> Option<Placed> {
    let place = turn.back(around(stack.iter().map(Band::place)), size);
    let spine = match stack {
        [band] => spine_of(&band.0, shelves),
        bands => {
            let lines = bands.iter().flat_map(|band| &band.0);
            let parts = bands.iter().filter_map(|band| spine_of(&band.0, shelves)).collect();
            whole(lines, parts)
        }
    };
    spine.map(|spine| Placed { spine, place })
}

/// The spine of some lines on one level; its parts are those before and behind the place where it is most likely two.
fn spine_of(lines: &[Line], shelves: &[u32]) -> Option<Spine> {
    let gaps = lines.windows(2).map(|pair| (pair[0].place.left + pair[0].place.width, pair[1].place.left));
    let likely = |(place, (end, begin)): &(usize, (u32, u32))| {
        let between = shelves.iter().any(|shelf| (*end..*begin).contains(shelf));
        (between, begin.saturating_sub(*end), usize::MAX - place)
    };
    let parts = match gaps.enumerate().max_by_key(likely) {
        Some((place, _)) => {
            let (before, behind) = lines.split_at(place + 1);
            [spine_of(before, shelves), spine_of(behind, shelves)].into_iter().flatten().collect()
        }
        None => Vec::new(),
    };
    whole(lines.iter(), parts)
}

/// The spine that has all these lines, if it may be one.
fn whole<'a>(lines: impl Iterator<Item = &'a Line<'a>>, parts: Vec<Spine>) -> Option<Spine> {
    let words = lines.flat_map(|line| &line.words);
    let words = words.map(|word| Word { text: word.text.clone(), confidence: Some(word.confidence) });
    let spine = Spine { words: words.collect(), parts, ..Spine::default() };
    let letters = |text: &str| text.chars().filter(|c| c.is_alphabetic()).count();
    let all: usize = spine.words.iter().map(|word| letters(&word.text)).sum();
    let has_word = spine.words.iter().any(|word| letters(&word.text) >= 3);
    (all >= LETTERS && has_word && spine.confidence().is_some_and(|sure| sure >= SPINE)).then_some(spine)
}

/// Whether it is sure enough, and stands as the image does: a reader that turns the image itself may have read what
/// stands upright in it.
fn is_word(word: &Found) -> bool {
    let letters = word.text.chars().filter(|c| c.is_alphanumeric()).count();
    word.confidence >= WORD && letters > 0 && (letters < 3 || word.place.width > word.place.height)
}

/// Without those that another, surer word covers: one word is read twice now and then.
fn once_each(words: Vec<Found>) -> Vec<Found> {
    let is_covered = |index: usize, word: &Found| {
        let others = words.iter().enumerate().filter(|(other, _)| *other != index);
        others.into_iter().any(|(other, found)| {
            // Of two that are as sure, the first.
            let is_surer = (found.confidence, index) > (word.confidence, other);
            is_surer && collide(found.place, word.place)
        })
    };
    let covered: Vec<bool> = words.iter().enumerate().map(|(index, word)| is_covered(index, word)).collect();
    words.into_iter().zip(covered).filter(|(_, covered)| !covered).map(|(word, _)| word).collect()
}

/// Whether the words of most lines go from right to left: the reader has turned the image over.
fn is_upside_down(words: &[Found]) -> bool {
    let pairs = words.windows(2).filter(|pair| pair[0].line == pair[1].line);
    let (right, left): (Vec<_>, Vec<_>) = pairs.partition(|pair| pair[0].place.left < pair[1].place.left);
    left.len() > right.len()
}

/// Whether a line at `next` goes on where the band ends: on its level, and not too far along.
fn continues(band: Place, next: Place, apart: u32) -> bool {
    let height = band.height.min(next.height);
    let level = overlap(band.top, band.height, next.top, next.height);
    let gap = next.left.saturating_sub(band.left + band.width);
    level * 2 >= height && gap <= apart * band.height.max(next.height)
}

/// Where two of them claim a place, the one with more that is sure. From the left, and where they stand in one column
/// from the top.
fn best(mut found: Vec<Placed>) -> Vec<Spine> {
    found.sort_by(|a, b| worth(&b.spine).total_cmp(&worth(&a.spine)));
    let mut kept: Vec<Placed> = Vec::new();
    for placed in found {
        if !kept.iter().any(|other| collide(other.place, placed.place)) {
            kept.push(placed);
        }
    }
    kept.sort_by_key(|Placed { place, .. }| (place.left + place.width / 2, place.top));
    kept.into_iter().map(|placed| placed.spine).collect()
}

/// How much of a spine is sure: its letters, each by how sure its word is; doubt counts double, as what is read the
/// wrong way round has many letters and is never sure.
fn worth(spine: &Spine) -> f64 {
    let of = |word: &Word| word.text.chars().count() as f64 * word.confidence.unwrap_or(1.0).powi(2);
    spine.words.iter().map(of).sum()
}

/// Whether two places are for the most part one.
fn collide(a: Place, b: Place) -> bool {
    let width = u64::from(overlap(a.left, a.width, b.left, b.width));
    let height = u64::from(overlap(a.top, a.height, b.top, b.height));
    let area = |place: Place| u64::from(place.width) * u64::from(place.height);
    width * height * 2 >= area(a).min(area(b))
}

/// How long two stretches run side by side.
fn overlap(a: u32, length_a: u32, b: u32, length_b: u32) -> u32 {
    (a + length_a).min(b + length_b).saturating_sub(a.max(b))
}

/// The smallest place that holds all these; there is at least one.
fn around(places: impl Iterator<Item = Place> + Clone) -> Place {
    let left = places.clone().map(|place| place.left).min().unwrap_or(0);
    let top = places.clone().map(|place| place.top).min().unwrap_or(0);
    let right = places.clone().map(|place| place.left + place.width).max().unwrap_or(left);
    let bottom = places.map(|place| place.top + place.height).max().unwrap_or(top);
    Place { left, top, width: right - left, height: bottom - top }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(left: u32, top: u32, width: u32, height: u32) -> Place {
        Place { left, top, width, height }
    }

    fn found(text: &str, confidence: f64, line: u32, place: Place) -> Found {
        Found { text: text.into(), confidence, line: [1, line, 1, 1], place }
    }

    fn texts(spines: &[Placed]) -> Vec<String> {
        spines.iter().map(|placed| placed.spine.text()).collect()
    }

    #[test]
    fn a_place_is_turned_back_to_where_it_was() {
        // One pixel on an image of 4 × 3, turned by the same code as the photo.
        for turn in [Turn::None, Turn::Over, Turn::Left, Turn::Right] {
            let mut image = GrayImage::new(4, 3);
            image.put_pixel(1, 2, image::Luma([255]));
            let turned = turn.of(image);
            let (x, y, _) = turned.enumerate_pixels().find(|(_, _, pixel)| pixel.0 == [255]).unwrap();
            assert_eq!(turn.back(place(x, y, 1, 1), (4, 3)), place(1, 2, 1, 1), "{turn:?}");
        }
        assert_eq!(Turn::Left.back(place(10, 20, 300, 40), (1000, 500)), place(940, 10, 40, 300));
    }

    #[test]
    fn title_and_author_at_both_ends_of_one_spine_are_one_and_the_next_spine_is_another() {
        let words = vec![
            found("Frank", 0.96, 1, place(600, 12, 80, 26)),
            found("Herbert", 0.95, 1, place(690, 12, 90, 26)),
            found("DUNE", 0.95, 2, place(30, 10, 120, 34)),
            found("Emma", 0.95, 3, place(30, 110, 120, 34)),
        ];
        let mut read = texts(&spines(words.clone(), Turn::Left, (900, 900)));
        read.sort();
        assert_eq!(read, ["DUNE Frank Herbert", "Emma"]);
        // Across, what stands so far apart is on two spines.
        assert_eq!(spines(words, Turn::None, (900, 900)).len(), 3);
    }

    #[test]
    fn a_word_that_was_read_twice_is_taken_once_as_the_surer_reading_has_it() {
        let words = vec![
            found("PUNE", 0.6, 1, place(32, 8, 118, 36)),
            found("DUNE", 0.95, 2, place(30, 10, 120, 34)),
            found("DUNE", 0.95, 3, place(31, 10, 119, 34)),
        ];
        assert_eq!(texts(&spines(words, Turn::Left, (900, 900))), ["DUNE"]);
    }

    #[test]
    fn two_books_above_each_other_on_two_shelves_are_the_parts_of_what_was_taken_for_one() {
        let words = vec![
            found("Emma", 0.95, 1, place(30, 10, 120, 30)),
            found("Austen", 0.95, 2, place(300, 10, 120, 30)),
            found("Ulysses", 0.95, 3, place(500, 10, 120, 30)),
            found("Joyce", 0.95, 4, place(900, 10, 120, 30)),
            // Another spine on the first shelf, and one on the second: no text from 470 to 490.
            found("Middlemarch", 0.95, 5, place(130, 110, 340, 30)),
            found("Buddenbrooks", 0.95, 6, place(490, 110, 430, 30)),
        ];
        let read = spines(words, Turn::Left, (1100, 1100));
        let parts: Vec<String> = read[0].spine.parts.iter().map(Spine::text).collect();
        assert_eq!(read[0].spine.text(), "Emma Austen Ulysses Joyce");
        assert_eq!(parts, ["Emma Austen", "Ulysses Joyce"], "not where the gap is widest");
    }

    #[test]
    fn a_title_in_two_lines_is_one_spine_of_two_parts_and_a_neighbour_is_another() {
        let words = vec![
            found("The", 0.95, 1, place(30, 10, 50, 30)),
            found("Great", 0.95, 1, place(90, 10, 90, 30)),
            found("Gatsby", 0.95, 2, place(30, 50, 100, 30)),
            found("Dracula", 0.95, 3, place(30, 120, 100, 30)),
        ];
        let read = spines(words, Turn::Left, (900, 900));
        assert_eq!(texts(&read), ["The Great Gatsby", "Dracula"]);
        assert_eq!(read[0].spine.parts.iter().map(Spine::text).collect::<Vec<_>>(), ["The Great", "Gatsby"]);
    }

    #[test]
    fn a_reading_upside_down_is_put_right() {
        // "Frank Herbert" at the right end is read first, from right to left, when the image was turned over.
        let words = vec![
            found("DUNE", 0.95, 1, place(750, 56, 120, 34)),
            found("Frank", 0.96, 2, place(220, 62, 80, 26)),
            found("Herbert", 0.95, 2, place(120, 62, 90, 26)),
        ];
        let read = spines(words, Turn::Right, (100, 900));
        assert_eq!(texts(&read), ["DUNE Frank Herbert"]);
        assert_eq!(read[0].place, Turn::Left.back(place(30, 10, 750, 34), (100, 900)));
    }

    #[test]
    fn what_no_spine_says_is_dropped() {
        let words = vec![
            found("|", 0.9, 1, place(0, 0, 5, 30)),
            found("Il", 0.9, 2, place(0, 100, 20, 30)),
            found("a b", 0.9, 3, place(0, 200, 40, 30)),
            found("Neuromancer", 0.2, 4, place(0, 300, 200, 30)),
            found("WWWM", 0.45, 5, place(0, 400, 100, 30)),
            found("1984", 0.9, 6, place(0, 500, 100, 30)),
            found("Upright", 0.9, 7, place(0, 600, 30, 200)),
        ];
        assert_eq!(texts(&spines(words.clone(), Turn::Left, (900, 900))), [""; 0]);
    }

    #[test]
    fn of_two_readings_of_one_place_the_surer_one_is_kept_and_spines_come_from_the_left() {
        let placed = |text: &str, sure: f64, at: Place| Placed {
            spine: Spine { words: vec![Word { text: text.into(), confidence: Some(sure) }], ..Spine::default() },
            place: at,
        };
        let kept = best(vec![
            placed("Emma", 0.95, place(200, 0, 40, 400)),
            placed("ouueW", 0.55, place(200, 10, 40, 390)),
            placed("Dune", 0.9, place(100, 300, 40, 100)),
            placed("Ulysses", 0.9, place(100, 0, 40, 100)),
        ]);
        assert_eq!(kept.iter().map(Spine::text).collect::<Vec<_>>(), ["Ulysses", "Dune", "Emma"]);
    }
}
