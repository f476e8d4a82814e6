//! Does jobs of a Tidings hub: claims them, tells how far it is, hears of a cancel.
