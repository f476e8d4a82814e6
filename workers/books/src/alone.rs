//! An import without a hub, for who wants to know what is in a list.

use std::fs::File;
use std::io::{self, BufWriter, Write, stdout};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tidings_books::import::{self, Options, RowNote, Summary};
use tidings_books::report::{Report, Stopped, Unfinished};

use crate::Failed;
use crate::bar::{Bar, grouped};

/// How many notes are printed of each kind, unless all are asked for.
const SHOWN: usize = 20;

/// `tidings-books import`.
#[derive(Clone, Debug, clap::Args)]
pub struct ImportArgs {
    /// The list: an export of Goodreads, StoryGraph or LibraryThing, or any table with titles or ISBNs
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Where the books are written, one as JSON on each line; - is standard output
    #[arg(long, value_name = "FILE")]
    books: Option<PathBuf>,
    /// Print the summary as JSON, as a job has it for its result
    #[arg(long)]
    json: bool,
    /// Print all notes about rows
    #[arg(long)]
    all: bool,
}

/// Imports the list and prints the summary: to standard output, or to standard error if the books go there.
pub fn import(args: &ImportArgs) -> Result<(), Failed> {
    let shown = args.file.display();
    let file = File::open(&args.file).map_err(|error| Failed(format!("{shown} can't be read: {error}")))?;
    if file.metadata().is_ok_and(|file| !file.is_file()) {
        return Err(Failed(format!(
            "{shown} is no file: the list is read twice, which a pipe or a directory can't be"
        )));
    }
    let books: Option<Box<dyn Write + Send>> = match &args.books {
        None => None,
        Some(path) if path.as_os_str() == "-" => Some(Box::new(BufWriter::new(stdout()))),
        Some(path) => {
            let file = File::create(path);
            let file = file.map_err(|error| Failed(format!("{} can't be written: {error}", path.display())))?;
            Some(Box::new(BufWriter::new(file)))
        }
    };
    let to = Alone(Mutex::new(State { bar: Bar::new(), books, failed: None }));
    let ended = import::run(file, &Options::default(), &to);
    let mut state = to.state();
    state.bar.clear();
    let flushed = state.books.as_mut().map_or(Ok(()), |books| books.flush());
    let failed = state.failed.take().or(flushed.err());
    let summary = match (ended, failed) {
        // `tidings-books import … --books - | head`: whoever reads may stop.
        (_, Some(error)) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
        (_, Some(error)) => return Err(Failed(format!("the books can't be written: {error}"))),
        (Ok(summary), None) => summary,
        (Err(Unfinished::Failed(failure)), None) => return Err(Failed(format!("{shown}: {}", failure.message))),
        (Err(unfinished), None) => return Err(Failed(format!("{shown}: {unfinished}"))),
    };
    let text = if args.json { format!("{:#}\n", summary.to_result()) } else { printed(&summary, args.all) };
    let is_taken = args.books.as_ref().is_some_and(|path| path.as_os_str() == "-");
    let written = if is_taken { io::stderr().write_all(text.as_bytes()) } else { stdout().write_all(text.as_bytes()) };
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failed(format!("nothing can be printed: {error}")))
        }
        _ => Ok(()),
    }
}

/// What the import says goes to the terminal, and its books to a file.
struct Alone(Mutex<State>);

struct State {
    bar: Bar,
    books: Option<Box<dyn Write + Send>>,
    failed: Option<io::Error>,
}

impl Alone {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Report for Alone {
    fn progress(&self, done: u64, total: Option<u64>, message: Option<&str>, _: Option<Value>) {
        self.state().bar.draw(done, total, message);
    }

    fn items(&self, items: Vec<Value>) -> Result<(), Stopped> {
        let mut state = self.state();
        let Some(books) = &mut state.books else { return Ok(()) };
        let written = items.iter().try_for_each(|book| writeln!(books, "{book}"));
        written.map_err(|error| {
            state.failed = Some(error);
            Stopped
        })
    }

    fn is_canceled(&self) -> bool {
        false
    }
}

/// The summary for people.
fn printed(summary: &Summary, all: bool) -> String {
    let word = |value: Value| value.as_str().unwrap_or_default().to_owned();
    let (format, encoding) = (word(serde_json::json!(summary.format)), word(serde_json::json!(summary.encoding)));
    let mut lines =
        vec![format!("{} books of {} rows ({format}, {encoding})", grouped(summary.imported), grouped(summary.rows))];
    for (count, notes, what) in [
        (summary.failed, &summary.errors, "rows could not be used"),
        (summary.warned, &summary.warnings, "books have something wrong with them"),
    ] {
        if count > 0 {
            lines.push(format!("\n{} {what}:", grouped(count)));
            let most = if all { notes.len() } else { SHOWN };
            lines.extend(notes.iter().take(most).map(|RowNote { row, message, .. }| format!("  row {row}: {message}")));
            match count - notes.len().min(most) as u64 {
                0 => {}
                more if notes.len() > most => lines.push(format!("  and {} more; --all prints them", grouped(more))),
                more => lines.push(format!("  and {} more", grouped(more))),
            }
        }
    }
    lines.push(String::new());
    lines.join("\n")
}
