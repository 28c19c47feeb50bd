//! System calls that the standard library and our crates do not offer. The only module of the load
//! generator with `unsafe`; each block names its obligation. Nothing here keeps state but
//! [`Timer`].

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// Gives the calling thread a table of open files of its own: `RLIMIT_NOFILE` then counts for this
/// thread alone. It begins as a copy of the process's table; what is opened or closed afterwards is
/// seen by this thread only.
pub fn unshare_files() -> io::Result<()> {
    // SAFETY: unshare takes no pointer. File descriptors owned by other threads stay valid there,
    // and our copies of them are never closed by an owner (the owners live in other tables), so no
    // descriptor is closed twice.
    check(unsafe { libc::unshare(libc::CLONE_FILES) }).map(drop)
}

/// Raises the soft limit on open files to the hard one and returns the limit now in force.
pub fn raise_open_files() -> io::Result<u64> {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: the pointer is to writable memory of the right type for the length of the call.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, limit.as_mut_ptr()) })?;
    // SAFETY: getrlimit returned 0, so it has filled the struct.
    let mut limit = unsafe { limit.assume_init() };
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the pointer is to an initialised struct for the length of the call.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    Ok(limit.rlim_cur)
}

/// User and system time that this process has used so far, all threads together.
pub fn cpu_time() -> io::Result<(Duration, Duration)> {
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the pointer is to writable memory of the right type for the length of the call.
    check(unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) })?;
    // SAFETY: getrusage returned 0, so it has filled the struct.
    let usage = unsafe { usage.assume_init() };
    Ok((duration_of(usage.ru_utime), duration_of(usage.ru_stime)))
}

/// Ticks a second in which `/proc` counts CPU time.
pub fn clock_ticks_per_s() -> f64 {
    // SAFETY: sysconf takes no pointer.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    // Linux has always said 100 here.
    if ticks > 0 { ticks as f64 } else { 100.0 }
}

/// Size of a page of memory.
pub fn page_bytes() -> u64 {
    // SAFETY: sysconf takes no pointer.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

fn duration_of(time: libc::timeval) -> Duration {
    // Both parts are not negative: they count CPU time.
    Duration::new(
        time.tv_sec.unsigned_abs(),
        time.tv_usec.unsigned_abs() as u32 * 1000,
    )
}

/// `CLOCK_MONOTONIC` in nanoseconds: the same count in every process of this host until it boots
/// again.
pub fn monotonic_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to writable memory of the right type for the length of the call.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    // It fails only for an unknown clock or a bad pointer, and neither can be.
    debug_assert_eq!(status, 0);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// Tells the kernel to choose the port of a bound address at `connect`, when it knows the
/// destination, instead of at `bind`: one local port then serves many destinations
/// (`IP_BIND_ADDRESS_NO_PORT`, Linux 4.2).
pub fn bind_address_no_port(socket: &impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the pointer and the length describe one c_int that outlives the call.
    let status = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    check(status).map(drop)
}

/// An alarm with the resolution of the clock (`timerfd`): `epoll_wait` alone counts whole
/// milliseconds, too coarse for a publisher's schedule. Becomes readable when it fires; register it
/// edge-triggered and never read it.
#[derive(Debug)]
pub struct Timer(OwnedFd);

impl Timer {
    /// A timer that is not armed.
    pub fn new() -> io::Result<Timer> {
        let flags = libc::TFD_NONBLOCK | libc::TFD_CLOEXEC;
        // SAFETY: timerfd_create takes no pointer.
        let fd = check(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) })?;
        // SAFETY: the descriptor is new and nobody else knows it, so we own it.
        Ok(Timer(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Fires once at `at_ns` of [`monotonic_ns`]; a time that has passed fires at once.
    pub fn arm(&self, at_ns: u64) -> io::Result<()> {
        let at_ns = at_ns.max(1); // zero would disarm it
        let value = libc::timespec {
            tv_sec: (at_ns / 1_000_000_000) as libc::time_t,
            tv_nsec: (at_ns % 1_000_000_000) as libc::c_long,
        };
        let once = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let setting = libc::itimerspec {
            it_interval: once,
            it_value: value,
        };
        // SAFETY: the pointer is to an initialised struct for the length of the call; the old value
        // is not asked for.
        let status = unsafe {
            libc::timerfd_settime(
                self.0.as_raw_fd(),
                libc::TFD_TIMER_ABSTIME,
                &raw const setting,
                std::ptr::null_mut(),
            )
        };
        check(status).map(drop)
    }
}

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

fn check(status: libc::c_int) -> io::Result<libc::c_int> {
    if status < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_thread_with_its_own_table_does_not_close_the_files_of_others() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let fd = listener.as_raw_fd();
        std::thread::spawn(move || {
            unshare_files().unwrap();
            // SAFETY: in this thread's table the descriptor is a copy of the listener's, and nobody
            // here owns it.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        })
        .join()
        .unwrap();
        assert!(listener.local_addr().is_ok());
    }

    #[test]
    fn a_timer_fires_at_its_time_and_again_when_armed_again() {
        use mio::{Events, Interest, Poll, Token, unix::SourceFd};
        let timer = Timer::new().unwrap();
        let mut poll = Poll::new().unwrap();
        poll.registry()
            .register(
                &mut SourceFd(&timer.as_raw_fd()),
                Token(7),
                Interest::READABLE,
            )
            .unwrap();
        let mut events = Events::with_capacity(4);
        for _ in 0..3 {
            let at_ns = monotonic_ns() + 2_000_000;
            timer.arm(at_ns).unwrap();
            poll.poll(&mut events, Some(Duration::from_secs(5)))
                .unwrap();
            assert_eq!(
                events.iter().map(|event| event.token()).collect::<Vec<_>>(),
                [Token(7)]
            );
            assert!(monotonic_ns() >= at_ns);
        }
    }
}
