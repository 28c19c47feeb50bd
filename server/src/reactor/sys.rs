//! The system calls that no safe wrapper offers. The only place in the server with `unsafe`.
#![allow(unsafe_code, reason = "each block names its obligation")]

use std::io;

/// Gives the calling thread a table of open files of its own, a copy of the process's at this moment.
///
/// From then on what this thread opens and closes concerns no other thread, accept and close do not contend on the process's
/// table, and the limit on open files counts for this thread alone.
///
/// # Errors
/// Whatever unshare(2) reports; in practice only ENOMEM.
pub fn unshare_files() -> io::Result<()> {
    // SAFETY: takes no pointers. Descriptors opened before stay valid in this thread's copy; those that other threads open later are
    // not in it, and no code of this crate hands a descriptor to a thread that has unshared.
    check(unsafe { libc::unshare(libc::CLONE_FILES) })
}

/// Raises the soft limit on open files to the hard one; returns the limit now in force.
///
/// # Errors
/// Whatever getrlimit(2) and setrlimit(2) report.
pub fn raise_open_files_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid rlimit that outlives both calls.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    if limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: as above.
        check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    }
    Ok(limit.rlim_cur)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsRawFd;

    #[test]
    fn what_an_unshared_thread_opens_is_not_in_the_tables_of_others() {
        let (opened, seen) = std::sync::mpsc::channel();
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            unshare_files().unwrap();
            // Enough of them that no number can be one that this process holds by chance.
            let files: Vec<File> = (0..200).map(|_| File::open("/dev/null").unwrap()).collect();
            opened
                .send(files.iter().map(AsRawFd::as_raw_fd).max().unwrap())
                .unwrap();
            wait.recv().unwrap();
        });
        let highest = seen.recv().unwrap();
        assert!(!std::path::Path::new(&format!("/proc/self/fd/{highest}")).exists());
        done.send(()).unwrap();
        thread.join().unwrap();
    }
}
