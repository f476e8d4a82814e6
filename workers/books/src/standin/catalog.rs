//! The books that the stand-in knows.

/// A book. Its ISBN, title, author and first year are real; the numbers of Open Library's records are made up.
#[derive(Debug)]
pub struct Book {
    /// The number in each of its keys: `OL<number>W`, `M`, `A`, and of its cover.
    pub number: u32,
    /// The ISBN-13 of its edition.
    pub isbn: &'static str,
    /// Its title.
    pub title: &'static str,
    /// Its author.
    pub author: &'static str,
    /// The year of its first edition.
    pub year: i32,
    /// Who published this edition.
    pub publisher: &'static str,
    /// When, as a record says it.
    pub published: &'static str,
    /// How many pages it has, about.
    pub pages: u32,
    /// Its language, as MARC spells it.
    pub language: &'static str,
    /// What it is about.
    pub subjects: &'static [&'static str],
    /// Whether the search knows it too. An edition that was added lately is found only by the Books API.
    pub indexed: bool,
}

/// The ISBN of the book that only the Books API knows.
pub const NOT_INDEXED: &str = "9780679720201";

const CLASSIC: &[&str] = &["Fiction", "Classic Literature", "English literature"];
const FUTURE: &[&str] = &["Science fiction", "Fiction"];

/// The books.
pub const BOOKS: &[Book] = &[
    book(1, "9780439708180", "Harry Potter and the Sorcerer's Stone", "J. K. Rowling", 1997, "Scholastic", "1999", 309),
    book(2, "9780441172719", "Dune", "Frank Herbert", 1965, "Ace", "September 1990", 535).about(FUTURE),
    book(3, "9780141439518", "Pride and Prejudice", "Jane Austen", 1813, "Penguin", "December 31, 2002", 435),
    book(4, "9780451524935", "Nineteen Eighty-Four", "George Orwell", 1949, "Signet", "July 1950", 328).about(FUTURE),
    book(5, "9780743273565", "The Great Gatsby", "F. Scott Fitzgerald", 1925, "Scribner", "2004", 180),
    book(6, "9780061120084", "To Kill a Mockingbird", "Harper Lee", 1960, "Harper Perennial", "May 23, 2006", 336),
    book(7, "9780547928227", "The Hobbit", "J. R. R. Tolkien", 1937, "Mariner Books", "2012", 300),
    book(8, "9780316769488", "The Catcher in the Rye", "J. D. Salinger", 1951, "Little, Brown", "1991", 214),
    book(9, "9780060850524", "Brave New World", "Aldous Huxley", 1932, "Harper Perennial", "2006", 288).about(FUTURE),
    book(10, "9780142437247", "Moby-Dick; or, The Whale", "Herman Melville", 1851, "Penguin", "2002", 654),
    book(11, "9780141441146", "Jane Eyre", "Charlotte Brontë", 1847, "Penguin", "2006", 578),
    book(12, "9780141439556", "Wuthering Heights", "Emily Brontë", 1847, "Penguin", "2002", 353),
    book(13, "9780141439471", "Frankenstein", "Mary Shelley", 1818, "Penguin", "May 6, 2003", 273).about(FUTURE),
    book(14, "9780141439846", "Dracula", "Bram Stoker", 1897, "Penguin", "2003", 454),
    book(15, "9780140449136", "Crime and Punishment", "Fyodor Dostoyevsky", 1866, "Penguin", "2003", 671),
    book(16, "9780140449266", "The Count of Monte Cristo", "Alexandre Dumas", 1844, "Penguin", "2003", 1276),
    book(17, "9780140447934", "War and Peace", "Leo Tolstoy", 1869, "Penguin", "2007", 1392),
    book(18, "9780143035008", "Anna Karenina", "Leo Tolstoy", 1877, "Penguin", "2004", 838),
    book(19, "9780140268867", "The Odyssey", "Homer", -700, "Penguin", "November 1999", 541),
    book(20, "9780141439570", "The Picture of Dorian Gray", "Oscar Wilde", 1890, "Penguin", "2003", 253),
    book(21, "9780060934347", "Don Quixote", "Miguel de Cervantes", 1605, "Ecco", "2005", 940),
    book(22, "9782070612758", "Le Petit Prince", "Antoine de Saint-Exupéry", 1943, "Gallimard", "2007", 113).in_("fre"),
    book(23, "9780553293357", "Foundation", "Isaac Asimov", 1951, "Bantam Spectra", "1991", 296).about(FUTURE),
    book(24, "9780345391803", "The Hitchhiker's Guide to the Galaxy", "Douglas Adams", 1979, "Del Rey", "1995", 216),
    book(25, "9780553380163", "A Brief History of Time", "Stephen Hawking", 1988, "Bantam", "1998", 212)
        .about(&["Cosmology", "Physics"]),
    book(26, "9781451673319", "Fahrenheit 451", "Ray Bradbury", 1953, "Simon & Schuster", "2012", 249).about(FUTURE),
    book(27, "9780812550702", "Ender's Game", "Orson Scott Card", 1985, "Tor", "July 1994", 324).about(FUTURE),
    book(28, "9780441569595", "Neuromancer", "William Gibson", 1984, "Ace", "1984", 271).about(FUTURE),
    book(29, "9780441478125", "The Left Hand of Darkness", "Ursula K. Le Guin", 1969, "Ace", "2000", 304).about(FUTURE),
    book(30, "9780156001311", "The Name of the Rose", "Umberto Eco", 1980, "Harcourt", "1994", 536),
    book(31, "9780141439600", "A Tale of Two Cities", "Charles Dickens", 1859, "Penguin", "2003", 489),
    book(32, "9780140177398", "Of Mice and Men", "John Steinbeck", 1937, "Penguin", "1993", 107),
    Book { indexed: false, ..book(33, NOT_INDEXED, "The Stranger", "Albert Camus", 1942, "Vintage", "1989", 123) },
];

#[expect(clippy::too_many_arguments, reason = "a row of a table")]
const fn book(
    number: u32,
    isbn: &'static str,
    title: &'static str,
    author: &'static str,
    year: i32,
    publisher: &'static str,
    published: &'static str,
    pages: u32,
) -> Book {
    let (language, subjects, indexed) = ("eng", CLASSIC, true);
    Book { number, isbn, title, author, year, publisher, published, pages, language, subjects, indexed }
}

impl Book {
    const fn about(self, subjects: &'static [&'static str]) -> Book {
        Book { subjects, ..self }
    }

    const fn in_(self, language: &'static str) -> Book {
        Book { language, ..self }
    }
}
