#!/bin/sh
# Made by stowaway install, which replaces it: put ROLE="serve ..." with other options into %/options.
PID=/var/run/stowaway.pid
[ -d /run ] && PID=/run/stowaway.pid
ROLE="serve -e %/exports --log /var/log/stowaway"
# On ESXi, only the datastore is kept over a restart.
[ -d /vmfs ] && ROLE="serve -e %/exports -p --key-file %/key --log %/log"
[ -r %/options ] && . %/options
pid=
[ -s $PID ] && read -r pid <$PID
runs() { [ "$pid" ] && kill -0 "$pid" 2>/dev/null; }
case "$1" in
start) runs || @/stowaway $ROLE -D -i $PID ;;
stop)
	runs && kill "$pid"
	for second in 1 2 3 4 5 6 7 8 9 10; do
		runs || break
		sleep 1
	done
	rm -f $PID
	;;
restart) "$0" stop && "$0" start ;;
reload) runs && kill -HUP "$pid" ;;
status) runs && echo "stowaway runs, process $pid" ;;
*) echo "usage: $0 start|stop|restart|reload|status" ;;
esac
