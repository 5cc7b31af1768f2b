# What lay in them went with the package. $1: how many versions of it are left.
[ "$1" = 0 ] && rmdir /usr/share/doc/kalit /usr/share/licenses/kalit 2>/dev/null
exit 0
