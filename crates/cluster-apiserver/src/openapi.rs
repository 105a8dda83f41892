//! Stand-in until the module of this name lands as a directory; that change deletes this file.
