#!/bin/sh
# Makes the databases of rpm beside this script, each of which has the packages of y.spec and y-old.spec. It needs rpmbuild,
# sqlite3, db5.3_load, and in RPM an rpm that can write ndb, such as one of Debian 13 in a root of its own:
#   RPM="chroot /some/root /usr/bin/rpm" WORK=/some/root/t IN=/t sh make-rpmdb.sh
# WORK is a directory to work in, and IN is its name as RPM sees it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$WORK"
for spec in y y-old; do
	rpmbuild --quiet -bb --define "_topdir $WORK/build" --define '__os_install_post %{nil}' --define '_build_id_links none' \
		--define 'source_date_epoch_from_changelog 0' "$here/$spec.spec"
done
cp "$WORK"/build/RPMS/noarch/*.rpm "$WORK"
for format in sqlite ndb; do
	mkdir -p "$WORK/$format/etc"
	printf 'root:x:0:0::/:/bin/sh\n' >"$WORK/$format/etc/passwd"
	printf 'root:x:0:\nmail:x:8:\n' >"$WORK/$format/etc/group"
	run="$RPM --root $IN/$format --dbpath /var/lib/rpm"
	$run --define "_db_backend $format" --initdb
	$run --define "_db_backend $format" -i --nodeps --nosignature $(cd "$WORK" && for p in *.rpm; do echo "$IN/$p"; done)
	$run --define "_db_backend $format" -e --nodeps y-part24
done
sqlite="$WORK/sqlite/var/lib/rpm/rpmdb.sqlite"
{
	printf 'VERSION=3\nformat=bytevalue\ntype=hash\ndb_pagesize=4096\nHEADER=END\n 00000000\n ff000000\n'
	sqlite3 "$sqlite" "select ' ' || printf('%02x', hnum) || '000000', ' ' || lower(hex(blob)) from Packages" | tr '|' '\n'
	printf 'DATA=END\n'
} | db5.3_load "$WORK/Packages"
gzip -9nc "$sqlite" >"$here/rpmdb.sqlite.gz"
gzip -9nc "$WORK/ndb/var/lib/rpm/Packages.db" >"$here/Packages.db.gz"
gzip -9nc "$WORK/Packages" >"$here/Packages.gz"

# A log that the database does not have yet: of y-part23's removal.
cp "$sqlite" "$WORK/logged.sqlite"
sqlite3 "$WORK/logged.sqlite" '.dbconfig no_ckpt_on_close on' 'pragma wal_autocheckpoint=0' \
	"delete from Packages where instr(blob, cast('y-part23' as blob))" >/dev/null
cmp "$sqlite" "$WORK/logged.sqlite"
gzip -9nc "$WORK/logged.sqlite-wal" >"$here/rpmdb.sqlite-wal.gz"
