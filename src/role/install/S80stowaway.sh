#!/bin/sh
### BEGIN INIT INFO
# Provides: stowaway
# Required-Start: $remote_fs $network
# Required-Stop: $remote_fs $network
# Default-Start: 2 3 4 5
# Default-Stop: 0 1 6
# Short-Description: file server
### END INIT INFO
# Made by stowaway install, which replaces it: put ROLE="serve ..." with other options into %/options.
PID=/var/run/stowaway.pid
[ -d /run ] && PID=/run/stowaway.pid
ROLE="serve -e %/exports --log /var/log/stowaway"
# On ESXi, only the datastore is kept over a restart.
[ -d /vmfs ] && ROLE="serve -e %/exports -p --key-file %/key --log %/log"
[ -r %/options ] && . %/options
[ -x @/stowaway ] || exit 5
# The lock on the file counts, not its number.
number() { pid=$(@/stowaway status --pid-file $PID 2>/dev/null); }
case "$1" in
start) number || @/stowaway $ROLE -D -i $PID ;;
stop)
	number && kill "$pid"
	for second in 1 2 3 4 5 6 7 8 9 10; do
		number
		[ $? = 3 ] && exec rm -f $PID
		sleep 1
	done
	exit 1
	;;
restart) "$0" stop && "$0" start ;;
reload | force-reload) number && kill -HUP "$pid" || exit 7 ;;
status) number && echo "stowaway runs, process $pid" ;;
enable)
	[ -x /usr/sbin/update-rc.d ] && exec /usr/sbin/update-rc.d stowaway defaults
	exec /sbin/chkconfig --add stowaway
	;;
disable)
	"$0" stop
	[ -x /usr/sbin/update-rc.d ] && exec /usr/sbin/update-rc.d -f stowaway remove
	exec /sbin/chkconfig --del stowaway
	;;
*)
	echo "usage: $0 start|stop|restart|reload|status"
	exit 2
	;;
esac
