# Type-checks and links Kalit's programs for Windows on a Debian or Ubuntu.
#   windows.sh DIR CARGO-ARGUMENT…
# This compiler has no standard library for Windows, and none can be fetched: it is built from its source, which
# Debian packages. The compiler looks for that source beside itself, so DIR gets a copy made of links.
set -euo pipefail
dir=$1; shift
mkdir -p "$dir"
cd "$dir"

version=$(rustc --version | cut -d' ' -f2)
chain=$dir/toolchain-$version
source=$chain/lib/rustlib/src/rust
if [ ! -d "$source/library" ]; then
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | head -1)
  mkdir -p lists/partial archives/partial
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie-backports main" > sources
  apt=(-o "Dir::Etc::sourcelist=$dir/sources" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$dir/lists" -o "Dir::Cache=$dir")
  apt-get "${apt[@]}" update --quiet
  found=$(apt-cache "${apt[@]}" madison rust-src | awk -F'[| ]+' -v version="$version+" 'index($3, version) == 1 { print $3; exit }')
  if [ -z "$found" ]; then
    echo "Debian has no rust-src $version any more: the check for Windows cannot be made" >&2
    exit 1
  fi
  apt-get "${apt[@]}" download "rust-src=$found"
  rm -rf unpacked "$chain"
  dpkg-deb --extract rust-src_*.deb unpacked
  sysroot=$(rustc --print sysroot)
  cp --recursive --symbolic-link "$sysroot/." "$chain"
  # these ask where they lie themselves
  cp --remove-destination "$sysroot"/bin/{rustc,cargo} "$chain/bin/"
  cp --remove-destination "$sysroot"/lib/librustc_driver* "$chain/lib/"
  rm -rf "$source"
  mkdir -p "$source"
  mv unpacked/usr/src/rustc-*/library "$source/"
  rm -rf unpacked archives lists sources rust-src_*.deb
fi

cd - > /dev/null
# cargo's own, by which this compiler would find the other one's libraries
unset LD_LIBRARY_PATH
export RUSTC=$chain/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_PROFILE_DEV_DEBUG=0
exec "$chain/bin/cargo" "$@" -Zbuild-std=std,panic_abort,panic_unwind \
  --target x86_64-pc-windows-gnu --target-dir "$dir/target" --package kalit --bins
