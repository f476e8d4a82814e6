//! Reads the spines on a photo by recognizing letters.
//!
//! Most spines are printed along, to be read with the head to the right, in some countries to the left, and thick
//! ones across. So the photo is read upright and turned both ways, and in two ways to tell ink from paper, as some spines
//! stand in the shadow; where two readings claim a place, the better one has it.

use super::layout::{Placed, spines};
use super::photo::{Photo, blocking};
use super::place::Turn;
use super::spine::{Spine, Word};
use super::tesseract::{Ink, Tesseract, WayUp};
use crate::report::{Failure, Report};

/// The longer side of what is read, in pixels. Below, letters are too small for the reader; above, it takes long and
/// reads no better.
const SIDE: (u32, u32) = (1600, 3200);

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

/// The spines on a photo, from the left.
pub async fn read(photo: Photo, tesseract: &Tesseract, report: &dyn Report) -> Result<Vec<Spine>, Failure> {
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

/// Where two of them claim a place, the one with more that is sure. From the left, and where they stand in one column
/// from the top.
fn best(mut found: Vec<Placed>) -> Vec<Spine> {
    found.sort_by(|a, b| worth(&b.spine).total_cmp(&worth(&a.spine)));
    let mut kept: Vec<Placed> = Vec::new();
    for placed in found {
        if !kept.iter().any(|other| other.place.is_same(placed.place)) {
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

#[cfg(test)]
mod tests {
    use super::super::place::Place;
    use super::*;

    fn place(left: u32, top: u32, height: u32) -> Place {
        Place { left, top, width: 40, height }
    }

    #[test]
    fn of_two_readings_of_one_place_the_surer_one_is_kept_and_spines_come_from_the_left() {
        let placed = |text: &str, sure: f64, at: Place| Placed {
            spine: Spine { words: vec![Word { text: text.into(), confidence: Some(sure) }], ..Spine::default() },
            place: at,
        };
        let kept = best(vec![
            placed("Emma", 0.95, place(200, 0, 400)),
            placed("ouueW", 0.55, place(200, 10, 390)),
            placed("Dune", 0.9, place(100, 300, 100)),
            placed("Ulysses", 0.9, place(100, 0, 100)),
        ]);
        assert_eq!(kept.iter().map(Spine::text).collect::<Vec<_>>(), ["Ulysses", "Dune", "Emma"]);
    }
}
