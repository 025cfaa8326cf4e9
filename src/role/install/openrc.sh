#!/sbin/openrc-run
# Made by stowaway install, which replaces it: put ROLE="serve ..." with other options into %/options.
description="File server"
extra_started_commands=reload
depend() { use net; }
start() { @/stowaway.sh start; }
stop() { @/stowaway.sh stop; }
reload() { @/stowaway.sh reload; }
status() {
	@/stowaway.sh status && return
	code=$?
	# OpenRC starts only services that it knows as stopped.
	[ $code = 3 ] && mark_service_stopped
	return $code
}
