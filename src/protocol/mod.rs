//! The native gateway dialect, versions 4 and 3, without any I/O.
