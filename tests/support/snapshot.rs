//! A picture of a file tree, to show that nothing in it changed.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

/// One entry: what a careless writer would change. A rewrite with the same content shows in the
/// inode number or the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    mode: u32,
    inode: u64,
    modified: SystemTime,
    content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Directory,
    Link(PathBuf),
    File(Vec<u8>),
    Other,
}

pub type Snapshot = BTreeMap<PathBuf, Entry>;

pub fn snapshot(root: &Path) -> Snapshot {
    let mut tree = BTreeMap::new();
    collect(root, &mut tree);
    tree
}

fn collect(path: &Path, tree: &mut Snapshot) {
    let metadata = fs::symlink_metadata(path).unwrap();
    let kind = metadata.file_type();
    let content = if kind.is_symlink() {
        Content::Link(fs::read_link(path).unwrap())
    } else if kind.is_file() {
        Content::File(fs::read(path).unwrap())
    } else if kind.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            collect(&entry.unwrap().path(), tree);
        }
        Content::Directory
    } else {
        Content::Other
    };
    let entry = Entry {
        mode: metadata.permissions().mode(),
        inode: metadata.ino(),
        modified: metadata.modified().unwrap(),
        content,
    };
    tree.insert(path.to_owned(), entry);
}

/// Panics with the paths that differ, never with their content: there are keys among them.
pub fn assert_unchanged(before: &Snapshot, root: &Path, what: &str) {
    let after = snapshot(root);
    let mut paths: Vec<_> = before.keys().chain(after.keys()).collect();
    paths.sort();
    paths.dedup();
    paths.retain(|path| before.get(*path) != after.get(*path));
    assert!(paths.is_empty(), "{what}: changed on disk: {paths:?}");
}
