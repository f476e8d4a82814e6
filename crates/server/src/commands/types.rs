//! `tidings types`: the types of a profile's events, in TypeScript.

use std::process::ExitCode;

use super::made::{self, MadeArgs};
use super::{Failure, end};
use crate::profile::{LoadedProfile, Mount, Transport};
use crate::schema::View;
use crate::schema::typescript::{self, Header};

/// `tidings types`.
#[derive(Clone, Debug, clap::Args)]
pub struct TypesArgs {
    #[command(flatten)]
    made: MadeArgs,
    /// As clients of the stream at this path see them. Without it, as they look by themselves, or on the only stream
    #[arg(long, value_name = "PATH", conflicts_with = "published")]
    mount: Option<String>,
    /// As publishers send them
    #[arg(long)]
    published: bool,
}

/// Makes the types.
pub fn run(args: TypesArgs) -> ExitCode {
    end(args.made.load().and_then(|loaded| args.made.put(&text(&args, &loaded)?)))
}

fn text(args: &TypesArgs, loaded: &LoadedProfile) -> Result<String, Failure> {
    let name = loaded.profile.name();
    let command = |more: &[(&str, Option<&str>)]| args.made.command("types", loaded, more);
    if args.published {
        let header = Header {
            about: format!("The data of the events of {name}, as publishers send it."),
            command: command(&[("--published", Some(""))]),
            socketio: None,
        };
        return Ok(typescript::write(&View::published(loaded), &header));
    }
    let mount = match &args.mount {
        Some(path) => Some(made::mount(loaded, path)?),
        None => only_stream(loaded),
    };
    let header = Header {
        about: format!("The data of the events of {name}, as it is told{}.", at(args.mount.as_deref())),
        command: command(&[("--mount", args.mount.as_deref())]),
        socketio: mount.and_then(greetings),
    };
    Ok(typescript::write(&View::of(loaded, mount), &header))
}

fn at(path: Option<&str>) -> String {
    path.map(|path| format!(" at {path}")).unwrap_or_default()
}

/// The stream of a profile that has one.
fn only_stream(loaded: &LoadedProfile) -> Option<&Mount> {
    let mut streams = loaded.mounts.iter().filter(|mount| mount.transport.stream().is_some());
    streams.next().filter(|_| streams.next().is_none())
}

/// What a mount of Socket.IO says first.
fn greetings(mount: &Mount) -> Option<Vec<String>> {
    match &mount.transport {
        Transport::SocketIo(stream) => {
            Some(stream.socketio.greetings.iter().map(|greeting| greeting.name.clone()).collect())
        }
        _ => None,
    }
}
