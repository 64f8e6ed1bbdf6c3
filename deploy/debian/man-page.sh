#!/bin/sh
# The manual page, short: the program's own help says the rest and cannot be out of date.
set -eu
cat <<PAGE
.TH IMAGE-SEARCH 1 "" "image-search $1" "User Commands"
.SH NAME
image-search \- search pictures by words
.SH SYNOPSIS
.B image-search
.I COMMAND
[\fIOPTIONS\fR]
.SH DESCRIPTION
Keeps an index of the pictures in a folder, and answers searches by words in a page and an HTTP API at http://localhost:3000.
.PP
.B image-search help
lists the commands,
.B image-search help COMMAND
the options of one,
.B image-search doctor
checks everything and says what to do.
.SH FILES
.TP
.I /etc/image-search/config.toml
what the service reads
.TP
.I /usr/share/doc/image-search/default.toml
every key with its default
.TP
.I /var/lib/image-search
pictures, index and models of the service
.TP
.I /usr/share/image-search/demo
pictures to try it with
PAGE
