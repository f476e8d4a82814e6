//! The program `tidings-books`.

fn main() {}
