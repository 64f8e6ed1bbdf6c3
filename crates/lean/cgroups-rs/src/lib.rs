//! How much memory a control group may use and uses, in both versions of control groups. The names are those of the crate
//! that this one replaces; see the README of the folder above.

/// Control groups as files.
pub mod fs {
    use std::path::{Path, PathBuf};

    use self::hierarchies::Hierarchy;
    use self::memory::MemController;

    /// A group, by its path below the place where groups are mounted.
    #[derive(Debug)]
    pub struct Cgroup {
        memory: Option<MemController>,
    }

    impl Cgroup {
        /// Takes a group that is there; a group that is not has no limit.
        pub fn load(hierarchy: Hierarchy, path: impl AsRef<Path>) -> Self {
            let folder = hierarchy.memory.map(|root| root.join(path));
            Self { memory: folder.map(MemController::new) }
        }

        /// What rules the group's memory.
        pub fn controller_of<T: AsController>(&self) -> Option<&T> {
            self.memory.as_ref().and_then(T::of)
        }
    }

    /// A kind of controller; the only one here is for memory.
    pub trait AsController {
        /// Itself, if it is of this kind.
        fn of(memory: &MemController) -> Option<&Self>;
    }

    /// Where groups are mounted.
    pub mod hierarchies {
        use super::{Path, PathBuf};

        /// The place of the groups of memory.
        #[derive(Debug)]
        pub struct Hierarchy {
            pub(super) memory: Option<PathBuf>,
        }

        /// The version of control groups that this machine has.
        pub fn auto() -> Hierarchy {
            let root = Path::new("/sys/fs/cgroup");
            let places = [root.to_owned(), root.join("memory")];
            let is_place = |place: &PathBuf| {
                place.join("cgroup.controllers").exists()
                    || place.join("memory.limit_in_bytes").exists()
            };
            Hierarchy { memory: places.into_iter().find(is_place) }
        }
    }

    /// Memory of a group.
    pub mod memory {
        use super::{AsController, PathBuf};

        /// Reads the files of one group.
        #[derive(Debug, Clone)]
        pub struct MemController {
            folder: PathBuf,
        }

        /// In bytes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct Memory {
            /// Negative without a limit.
            pub limit_in_bytes: i64,
            pub usage_in_bytes: u64,
        }

        impl MemController {
            pub(super) fn new(folder: PathBuf) -> Self {
                Self { folder }
            }

            /// Limit and use now.
            pub fn memory_stat(&self) -> Memory {
                // Version 2, then version 1; "max" is no number and no limit.
                let limit =
                    self.number("memory.max").or_else(|| self.number("memory.limit_in_bytes"));
                let usage =
                    self.number("memory.current").or_else(|| self.number("memory.usage_in_bytes"));
                Memory {
                    limit_in_bytes: limit.and_then(|limit| limit.try_into().ok()).unwrap_or(-1),
                    usage_in_bytes: usage.unwrap_or(0),
                }
            }

            fn number(&self, file: &str) -> Option<u64> {
                std::fs::read_to_string(self.folder.join(file)).ok()?.trim().parse().ok()
            }
        }

        impl AsController for MemController {
            fn of(memory: &MemController) -> Option<&Self> {
                Some(memory)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fs::memory::{MemController, Memory};
    use super::fs::{Cgroup, hierarchies};

    #[test]
    fn a_group_that_is_not_there_has_no_limit() {
        let group = Cgroup::load(hierarchies::auto(), "no/such/group");
        if let Some(memory) = group.controller_of::<MemController>() {
            assert_eq!(memory.memory_stat(), Memory { limit_in_bytes: -1, usage_in_bytes: 0 });
        }
    }
}
