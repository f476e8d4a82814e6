//! Places on a photo, and on the photo turned.

use image::GrayImage;
use image::imageops::{rotate90, rotate180, rotate270};

/// A rectangle of an image, in pixels from its upper left corner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// How far from the left it begins.
    pub left: u32,
    /// How far from the top it begins.
    pub top: u32,
    /// How wide it is.
    pub width: u32,
    /// How high it is.
    pub height: u32,
}

impl Place {
    /// The smallest place that holds all these; there is at least one.
    pub fn around(places: impl Iterator<Item = Place> + Clone) -> Place {
        let left = places.clone().map(|place| place.left).min().unwrap_or(0);
        let top = places.clone().map(|place| place.top).min().unwrap_or(0);
        let right = places.clone().map(Place::right).max().unwrap_or(left);
        let bottom = places.map(Place::bottom).max().unwrap_or(top);
        Place { left, top, width: right - left, height: bottom - top }
    }

    /// How far from the left it ends.
    pub fn right(self) -> u32 {
        self.left + self.width
    }

    /// How far from the top it ends.
    pub fn bottom(self) -> u32 {
        self.top + self.height
    }

    /// How far both run on above each other.
    pub fn shared_width(self, other: Place) -> u32 {
        self.right().min(other.right()).saturating_sub(self.left.max(other.left))
    }

    /// How far both run on beside each other.
    pub fn shared_height(self, other: Place) -> u32 {
        self.bottom().min(other.bottom()).saturating_sub(self.top.max(other.top))
    }

    /// Whether both are for the most part one.
    pub fn is_same(self, other: Place) -> bool {
        let area = |place: Place| u64::from(place.width) * u64::from(place.height);
        let shared = u64::from(self.shared_width(other)) * u64::from(self.shared_height(other));
        shared * 2 >= area(self).min(area(other))
    }
}

/// How the photo is turned for one reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Not at all.
    None,
    /// Upside down. Nothing is read so, but a reader may find it so.
    Over,
    /// A quarter to the right: spines that are read from bottom to top.
    Right,
    /// A quarter to the left: spines that are read from top to bottom.
    Left,
}

impl Turn {
    /// What is told while it is read so.
    pub fn message(self) -> &'static str {
        match self {
            Turn::Left => "reading the spines from top to bottom",
            Turn::Right => "reading the spines from bottom to top",
            Turn::None | Turn::Over => "reading what is printed across",
        }
    }

    /// The turned image.
    pub fn of(self, image: GrayImage) -> GrayImage {
        match self {
            Turn::None => image,
            Turn::Over => rotate180(&image),
            Turn::Right => rotate90(&image),
            Turn::Left => rotate270(&image),
        }
    }

    /// The same turn, and the image upside down.
    pub fn over(self) -> Turn {
        match self {
            Turn::None => Turn::Over,
            Turn::Over => Turn::None,
            Turn::Left => Turn::Right,
            Turn::Right => Turn::Left,
        }
    }

    /// The size of the turned image.
    pub fn size(self, (width, height): (u32, u32)) -> (u32, u32) {
        match self {
            Turn::None | Turn::Over => (width, height),
            Turn::Right | Turn::Left => (height, width),
        }
    }

    /// A place of the turned image in the upright one, which is `width` × `height`.
    pub fn back(self, place: Place, (width, height): (u32, u32)) -> Place {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn place(left: u32, top: u32, width: u32, height: u32) -> Place {
        Place { left, top, width, height }
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
    fn two_places_are_one_where_the_smaller_is_covered_by_half() {
        let spine = place(100, 0, 40, 400);
        assert!(spine.is_same(place(100, 10, 40, 380)));
        assert!(spine.is_same(place(120, 0, 40, 400)), "half of it");
        assert!(!spine.is_same(place(121, 0, 40, 400)));
        assert!(!spine.is_same(place(100, 400, 40, 400)), "below it");
    }
}
