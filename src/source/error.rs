//! What can go wrong in a source, told apart by whose fault it is: the name's, the picture's, or the source's own trouble,
//! which says nothing about any picture and passes.

use std::io;

use rustix::io::Errno;

use crate::types::ImageName;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    #[error("{0} is not there any more")]
    NotFound(ImageName),
    /// A picture of that name exists.
    #[error("{0} exists already")]
    Exists(ImageName),
    /// No picture can have that name here.
    #[error("{name} cannot be the name of a picture: {reason}; rename it")]
    BadName { name: ImageName, reason: String },
    /// Writing failed for want of room.
    #[error("there is no room for {name}: {reason}; free some space on that disk")]
    Full { name: ImageName, reason: String },
    /// Writing or deleting is not allowed.
    #[error(
        "cannot write {name}: {reason}; make its folder writable for the user who runs image-search"
    )]
    ReadOnly { name: ImageName, reason: String },
    /// A folder, device, pipe, or a link that is not followed.
    #[error("{0} is not a regular file; symbolic links are not followed")]
    NotAFile(ImageName),
    /// A matter of permissions.
    #[error("cannot read {name}: {reason}; check that this user may read it")]
    Denied { name: ImageName, reason: String },
    #[error("cannot read {name}: {reason}")]
    Io { name: ImageName, reason: String },
    /// The disk or share does not give the bytes at the moment. Not the picture's fault.
    #[error("cannot read {name} at the moment: {reason}; trying again")]
    Unavailable { name: ImageName, reason: String },
    /// The source as a whole cannot be used, or is not what it was. Nothing can be said about any picture of it.
    #[error(
        "{location} is away: {reason}; what is known of it is kept, and it is picked up again by itself"
    )]
    Away { location: String, reason: String },
}

/// Kinds of failure that come from the disk, the share, the network or a lack of means of ours.
const TROUBLE: &[Errno] = &[
    Errno::IO,
    Errno::STALE,
    Errno::NOTCONN,
    Errno::SHUTDOWN,
    Errno::HOSTDOWN,
    Errno::HOSTUNREACH,
    Errno::NETDOWN,
    Errno::NETUNREACH,
    Errno::NETRESET,
    Errno::CONNABORTED,
    Errno::CONNREFUSED,
    Errno::CONNRESET,
    Errno::TIMEDOUT,
    #[cfg(target_os = "linux")]
    Errno::REMOTEIO,
    Errno::NOLINK,
    Errno::NODEV,
    Errno::NXIO,
    #[cfg(target_os = "linux")]
    Errno::NOMEDIUM,
    Errno::AGAIN,
    Errno::INTR,
    Errno::NFILE,
    Errno::MFILE,
    Errno::NOMEM,
];

/// Whether an error says something about the disk, share or machine rather than about one file.
pub(super) fn is_trouble(error: &io::Error) -> bool {
    match error.raw_os_error() {
        Some(code) => TROUBLE.iter().any(|errno| errno.raw_os_error() == code),
        // Errors that carry no code come from a client of some protocol.
        None => matches!(
            error.kind(),
            io::ErrorKind::TimedOut
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionRefused
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::NotConnected
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
                | io::ErrorKind::NetworkDown
                | io::ErrorKind::BrokenPipe
        ),
    }
}

impl SourceError {
    /// What an error of the operating system means for the picture `name`.
    pub fn of(name: &ImageName, error: &io::Error) -> Self {
        let name = name.clone();
        let code = error.raw_os_error();
        let is = |errno: Errno| code == Some(errno.raw_os_error());
        match error.kind() {
            // A link on the way, or a way out of the source.
            _ if is(Errno::LOOP) || is(Errno::XDEV) => Self::NotAFile(name),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::NotFound(name),
            io::ErrorKind::AlreadyExists => Self::Exists(name),
            io::ErrorKind::PermissionDenied => Self::Denied { name, reason: error.to_string() },
            _ if is_trouble(error) => Self::Unavailable { name, reason: error.to_string() },
            _ => Self::Io { name, reason: error.to_string() },
        }
    }

    /// What an error of the operating system means when the picture `name` is written or deleted.
    pub fn of_writing(name: &ImageName, error: &io::Error) -> Self {
        let (name_now, reason) = (name.clone(), error.to_string());
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::Full { name: name_now, reason }
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::ReadOnly { name: name_now, reason }
            }
            io::ErrorKind::InvalidFilename => Self::BadName { name: name_now, reason },
            _ => Self::of(name, error),
        }
    }

    /// Whether it says nothing about the picture, so that trying again later is all there is to do.
    pub fn is_trouble(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Away { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_a_share_are_trouble_and_errors_of_a_file_are_not() {
        let name = ImageName::new("a.png").expect("valid");
        let of = |errno: Errno| SourceError::of(&name, &io::Error::from(errno));
        let sick = [Errno::STALE, Errno::IO, Errno::NOTCONN, Errno::HOSTDOWN, Errno::TIMEDOUT];
        for errno in sick {
            assert!(of(errno).is_trouble(), "{errno:?}");
        }
        assert!(SourceError::of(&name, &io::ErrorKind::TimedOut.into()).is_trouble());
        assert_eq!(of(Errno::NOENT), SourceError::NotFound(name.clone()));
        assert_eq!(of(Errno::LOOP), SourceError::NotAFile(name.clone()));
        assert!(matches!(of(Errno::ACCESS), SourceError::Denied { .. }));
        assert!(matches!(of(Errno::NAMETOOLONG), SourceError::Io { .. }));
        let writing = |errno: Errno| SourceError::of_writing(&name, &io::Error::from(errno));
        for errno in [Errno::NOSPC, Errno::DQUOT] {
            assert!(matches!(writing(errno), SourceError::Full { .. }), "{errno:?}");
        }
        for errno in [Errno::ROFS, Errno::ACCESS, Errno::PERM] {
            assert!(matches!(writing(errno), SourceError::ReadOnly { .. }), "{errno:?}");
        }
        assert!(matches!(writing(Errno::NAMETOOLONG), SourceError::BadName { .. }));
        assert_eq!(writing(Errno::EXIST), SourceError::Exists(name.clone()));
        assert!(writing(Errno::IO).is_trouble());
    }
}
