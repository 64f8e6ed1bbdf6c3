#!/usr/bin/env bash
# Makes a release's files from a program that is built: an archive and a Debian package, with ONNX Runtime beside the program.
#   deploy/package.sh PROGRAM ONNXRUNTIME_FOLDER OUT
# ONNXRUNTIME_FOLDER holds libonnxruntime.so, LICENSE and NOTICES.txt (make onnxruntime makes it). The same input gives
# the same bytes: times are those of the last commit, or of SOURCE_DATE_EPOCH.
set -euo pipefail
[ $# = 3 ] || { sed -n '2,5s/^# //p' "$0" >&2; exit 2; }
program=$(realpath "$1") onnxruntime=$(realpath "$2")
mkdir -p "$3" && out=$(realpath "$3")
cd "$(dirname "$0")/.."

version=$(deploy/version.sh)
repository=$(deploy/version.sh repository)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH

case $(LC_ALL=C readelf -h "$program" | sed -n 's/ *Machine: *//p') in
  *X86-64*) target=x86_64-unknown-linux-gnu debian=amd64 ;;
  AArch64) target=aarch64-unknown-linux-gnu debian=arm64 ;;
  *) echo "$program is for a machine that there is no package for" >&2; exit 1 ;;
esac
# The newest symbol says which C library is needed.
glibc=$(LC_ALL=C readelf -V "$program" "$onnxruntime/libonnxruntime.so" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -1 | cut -d_ -f2)
glibcxx=$(LC_ALL=C readelf -V "$program" "$onnxruntime/libonnxruntime.so" | grep -o 'GLIBCXX_[0-9.]*' | sort -uV | tail -1)
for file in LICENSE NOTICES.txt; do
  [ -s "$onnxruntime/$file" ] || { echo "$onnxruntime/$file is missing: make onnxruntime gets it" >&2; exit 1; }
done

work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
deploy/bill-of-materials.py "$target" "$work/bill"

# The names of functions, for backtraces, are a fifth of the program. They become a file of their own; unpacked beside the
# program as image-search.debug it is found there.
name=image-search-$version-$target
objcopy --only-keep-debug "$program" "$work/image-search.debug"
objcopy --strip-all --add-gnu-debuglink="$work/image-search.debug" "$program" "$work/image-search"
gzip -9n < "$work/image-search.debug" > "$out/$name.debug.gz"

# What both have, in one folder.
lay_out() { # PROGRAM_FOLDER DOCUMENTS_FOLDER DEMO_FOLDER
  install -D -m 755 "$work/image-search" "$1/image-search"
  install -m 644 "$onnxruntime/libonnxruntime.so" "$1/libonnxruntime.so"
  install -d "$2" "$3"
  install -m 644 README.md CHANGELOG.md NOTICE config/default.toml "$work"/bill/* "$2/"
  install -m 644 "$onnxruntime/NOTICES.txt" "$2/ONNXRUNTIME-NOTICES.txt"
  install -m 644 models/emoji-clip/NOTICE "$2/EMOJI-CLIP-NOTICE.txt"
  cp -r demo/. "$3/" && find "$3" -type d -exec chmod 755 {} + && find "$3" -type f -exec chmod 644 {} +
}

archive() {
  lay_out "$work/$name" "$work/$name" "$work/$name/demo"
  install -m 644 LICENSE "$work/$name/LICENSE"
  install -m 644 "$onnxruntime/LICENSE" "$work/$name/ONNXRUNTIME-LICENSE.txt"
  tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -cf - "$name" \
    | gzip -9n > "$out/$name.tar.gz"
  cp "$work/bill/sbom.cdx.json" "$out/$name.cdx.json"
}

debian_package() {
  local root=$work/deb documents=$work/deb/usr/share/doc/image-search
  lay_out "$root/usr/lib/image-search" "$documents" "$root/usr/share/image-search/demo"
  # The common licence is named by its path instead.
  rm "$root/usr/share/image-search/demo/LICENSE"
  install -d "$root/usr/bin" "$root/usr/share/man/man1"
  ln -s ../lib/image-search/image-search "$root/usr/bin/image-search"
  install -D -m 644 deploy/debian/image-search.service "$root/usr/lib/systemd/system/image-search.service"
  install -D -m 644 deploy/debian/config.toml "$root/etc/image-search/config.toml"
  install -D -m 644 deploy/debian/lintian-overrides "$root/usr/share/lintian/overrides/image-search"
  sed "s|@REPOSITORY@|$repository|" deploy/debian/copyright.in > "$documents/copyright"
  deploy/debian/man-page.sh "$version" | gzip -9n > "$root/usr/share/man/man1/image-search.1.gz"
  {
    echo "image-search ($version) stable; urgency=medium"
    printf '\n  * What changed stands in CHANGELOG.md.gz.\n\n'
    echo " -- $(sed -n 's/^Maintainer: //p' deploy/debian/control.in)  $(date -R -u -d "@$SOURCE_DATE_EPOCH")"
  } > "$documents/changelog"
  gzip -9n "$documents"/{changelog,CHANGELOG.md,THIRD-PARTY-LICENSES.txt,ONNXRUNTIME-NOTICES.txt,sbom.cdx.json}
  find "$documents" -type f -exec chmod 644 {} +

  install -d "$root/DEBIAN"
  install -m 755 deploy/debian/{postinst,prerm,postrm} "$root/DEBIAN/"
  echo /etc/image-search/config.toml > "$root/DEBIAN/conffiles"
  (cd "$root" && find usr etc -type f -print0 | sort -z | xargs -0 md5sum) > "$root/DEBIAN/md5sums"
  sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$debian/" -e "s/@GLIBC@/$glibc/" \
    -e "s|@REPOSITORY@|$repository|" -e "s/@LIBSTDCXX@/$(libstdcxx "$glibcxx")/" \
    -e "s/@SIZE@/$(du -sk --apparent-size --exclude=DEBIAN "$root" | cut -f1)/" deploy/debian/control.in > "$root/DEBIAN/control"
  chmod 644 "$root"/DEBIAN/{control,conffiles,md5sums}
  # A umask of the builder must not decide who may enter.
  find "$root" -type d -exec chmod 755 {} +
  dpkg-deb --root-owner-group -Zxz --build "$root" "$out/image-search_${version}_$debian.deb" >/dev/null
}

# GLIBCXX_3.4.N came with GCC's library of this version, as Debian numbers it.
libstdcxx() {
  case $1 in
    '') echo 5 ;;
    GLIBCXX_3.4.3[1-9]) echo 13 ;;
    GLIBCXX_3.4.30) echo 12 ;;
    GLIBCXX_3.4.29) echo 11 ;;
    *) echo 9 ;;
  esac
}

archive
debian_package
(cd "$out" && sha256sum -- image-search*.tar.gz image-search*.deb > SHA256SUMS)
ls -l "$out"
