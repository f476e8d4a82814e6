//! A disk in memory that fails on demand and forgets what was not synced.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::disk::storage::{Storage, StoredFile};

/// What goes wrong next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// So many bytes are still taken, then the disk is full.
    pub room: Option<usize>,
    /// Each write takes at most so many bytes.
    pub at_most: Option<usize>,
    /// Writes fail.
    pub write: bool,
    /// Syncs of files fail.
    pub sync: bool,
    /// Cutting fails.
    pub cut: bool,
    /// Making files fails.
    pub create: bool,
}

#[derive(Default)]
struct Content {
    /// What a read gives.
    cached: Vec<u8>,
    /// What survives.
    durable: Vec<u8>,
}

type Inode = Arc<Mutex<Content>>;

#[derive(Default)]
struct Disk {
    cached: BTreeMap<String, Inode>,
    durable: BTreeMap<String, Inode>,
    faults: Faults,
    locked: Arc<AtomicBool>,
    syncs: u64,
}

/// The disk; clones are the same one.
#[derive(Clone, Default)]
pub struct FaultyDisk(Arc<Mutex<Disk>>);

struct FaultyFile {
    disk: FaultyDisk,
    inode: Inode,
}

struct Locked(Arc<AtomicBool>);

impl Drop for Locked {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

fn failing(what: &str) -> io::Error {
    io::Error::other(format!("injected: {what}"))
}

impl FaultyDisk {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap()
    }

    pub fn fail(&self, faults: Faults) {
        self.disk().faults = faults;
    }

    pub fn heal(&self) {
        self.fail(Faults::default());
    }

    pub fn syncs(&self) -> u64 {
        self.disk().syncs
    }

    /// What a power cut leaves: only what was synced. The next open sees a new disk with it.
    pub fn after_power_cut(&self) -> FaultyDisk {
        self.copy(|disk| &disk.durable, |content| &content.durable)
    }

    /// What the end of a process leaves: all that was written.
    pub fn after_kill(&self) -> FaultyDisk {
        self.copy(|disk| &disk.cached, |content| &content.cached)
    }

    fn copy(
        &self,
        files: impl Fn(&Disk) -> &BTreeMap<String, Inode>,
        content: impl Fn(&Content) -> &Vec<u8>,
    ) -> FaultyDisk {
        let disk = self.disk();
        let files: BTreeMap<String, Inode> = files(&disk)
            .iter()
            .map(|(name, inode)| {
                let bytes = content(&inode.lock().unwrap()).clone();
                (name.clone(), Arc::new(Mutex::new(Content { cached: bytes.clone(), durable: bytes })))
            })
            .collect();
        FaultyDisk(Arc::new(Mutex::new(Disk { cached: files.clone(), durable: files, ..Disk::default() })))
    }

    pub fn names(&self, ending: &str) -> Vec<String> {
        self.disk().cached.keys().filter(|name| name.ends_with(ending)).cloned().collect()
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        self.disk().cached[name].lock().unwrap().cached.clone()
    }

    /// Puts a file there as if it had always been so.
    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        let mut disk = self.disk();
        let inode = disk.cached.entry(name.to_owned()).or_default().clone();
        disk.durable.insert(name.to_owned(), inode.clone());
        *inode.lock().unwrap() = Content { cached: bytes.clone(), durable: bytes };
    }

    pub fn delete(&self, name: &str) {
        self.disk().cached.remove(name);
        self.disk().durable.remove(name);
    }
}

impl Storage for FaultyDisk {
    fn lock(&self) -> io::Result<Box<dyn Send + Sync>> {
        let locked = self.disk().locked.clone();
        if locked.swap(true, Ordering::SeqCst) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Locked(locked)))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.disk().cached.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StoredFile>> {
        let mut disk = self.disk();
        if disk.faults.create {
            return Err(failing("create"));
        }
        if disk.cached.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = Inode::default();
        disk.cached.insert(name.to_owned(), inode.clone());
        Ok(Arc::new(FaultyFile { disk: self.clone(), inode }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StoredFile>> {
        let inode = self.disk().cached.get(name).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(FaultyFile { disk: self.clone(), inode }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk().cached.remove(name).map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.disk();
        let inode = disk.cached.remove(from).ok_or(io::ErrorKind::NotFound)?;
        disk.cached.insert(to.to_owned(), inode);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.disk();
        disk.durable = disk.cached.clone();
        Ok(())
    }

    fn path(&self, name: &str) -> String {
        format!("disk/{name}")
    }
}

impl StoredFile for FaultyFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let content = self.inode.lock().unwrap();
        let rest = content.cached.get(position as usize..).unwrap_or_default();
        // Never all at once, as a real read may do.
        let n = rest.len().min(buffer.len()).min(100_000);
        buffer[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        let mut disk = self.disk.disk();
        if disk.faults.write {
            return Err(failing("write"));
        }
        let mut n = bytes.len().min(disk.faults.at_most.unwrap_or(usize::MAX));
        if let Some(room) = &mut disk.faults.room {
            n = n.min(*room);
            *room -= n;
            if n == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        let mut content = self.inode.lock().unwrap();
        let end = position as usize + n;
        if content.cached.len() < end {
            content.cached.resize(end, 0);
        }
        content.cached[position as usize..end].copy_from_slice(&bytes[..n]);
        Ok(n)
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.disk.disk();
        if disk.faults.sync {
            return Err(failing("sync"));
        }
        disk.syncs += 1;
        let mut content = self.inode.lock().unwrap();
        content.durable = content.cached.clone();
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        if self.disk.disk().faults.cut {
            return Err(failing("cut"));
        }
        self.inode.lock().unwrap().cached.resize(length as usize, 0);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.inode.lock().unwrap().cached.len() as u64)
    }
}
