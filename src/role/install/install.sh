# install and uninstall: prints each step, and takes it. No link at the end of a path is followed. $0 started the executable.
action=$1 dir=${2%/} kind=$3 dry=$4 force=$5 links=$6 names=$7 mark=$8
shift 8
exports=$1 script=$2 openrc=$3 unit=$4 firewall=$5 local=$6
LC_ALL=C
export LC_ALL
umask 022
set -f
status=0
newline='
'

complain() {
	echo "stowaway: $*" >&2
	status=1
}

fail() {
	complain "$@"
	exit 1
}

# Ends with the reason at the end of a program's message.
fail_on() {
	fail "cannot $1: ${2##*: }"
}

has() {
	for file; do [ -e "$file" ] || return; done
}

# Prints and runs a command, which may be empty.
run() {
	[ "$1" ] || return
	echo "run $*"
	[ "$dry" ] || "$@" || complain "failed: $*"
}

# Prints a text with the directories of the executable and of the exports.
fill() {
	printf '%s\n' "$1" | sed "s|@|$dir|g; s|%|$config|g"
}

# Sets what a step makes at $path. A link has a target, and a text for file systems without links.
define() {
	holds=text mode=755 target= text= installed= removing= removed=
	case $1 in
	program) holds=program path=$dir/stowaway text=$program ;;
	exports) holds=example mode=644 path=$config/exports text=$(fill "$exports") ;;
	busybox) path=/etc/init.d/S80stowaway text=$(fill "$script") removing="$path stop" ;;
	sysvinit) path=/etc/init.d/stowaway text=$(fill "$script") installed="$path enable" removing="$path disable" ;;
	script) path=$dir/stowaway.sh text=$(fill "$script") removing="$path stop" ;;
	openrc)
		path=/etc/init.d/stowaway text=$(fill "$openrc")
		installed='rc-update add stowaway default'
		removing='rc-service --ifstarted stowaway stop'
		removed='rc-update del stowaway default'
		;;
	unit)
		mode=644 path=/etc/systemd/system/stowaway.service text=$(fill "$unit")
		installed='systemctl enable stowaway.service'
		removing='systemctl disable stowaway.service'
		# Nothing runs in an image that is being built.
		has /run/systemd/system && removing="systemctl disable --now stowaway.service" removed='systemctl daemon-reload'
		;;
	firewall)
		mode=644 path=/etc/vmware/firewall/stowaway.xml text=$(fill "$firewall")
		installed='esxcli network firewall refresh' removed=$installed
		;;
	sbin) holds=link path=/sbin/stowaway target=$dir/stowaway text=$program ;;
	local) holds=block path=/etc/rc.local.d/local.sh text=$(fill "$local")$newline ;;
	*) holds=link path=$dir/$1 target=stowaway text=$program ;;
	esac
}

# Compares $path with the step: missing, same, marked (of another version) or other.
look() {
	found=other
	[ -x "${path%/*}/" ] || ! has "${path%/*}/" || fail "cannot read $path: permission denied"
	if [ -h "$path" ]; then
		case $(ls -l "$path") in *" -> $target") found=same ;; esac
	elif [ -f "$path" ]; then
		# bash reports each NUL that it drops.
		{ held=$(cat "$path" 2>&1); } 2>/dev/null || fail_on "read $path" "$held"
		case $held in
		"$text") found=same ;;
		*"$mark"*) found=marked ;;
		esac
	elif [ ! -e "$path" ]; then
		found=missing
	fi
}

content() {
	case $holds in
	program | link) cat "$own" ;;
	*) printf '%s\n' "$text" | cat ;;
	esac
}

# Replaces the file at $path by a new one.
write() {
	[ "$dry" ] && return
	new=$path.new
	why=$({
		has "${path%/*}/" || mkdir "${path%/*}"
		rm -f "$new" && set -C && content >"$new" && chmod $mode "$new" &&
			{ [ -f "$path" ] && [ ! -h "$path" ] || rm -f "$path"; } && mv -f "$new" "$path"
	} 2>&1) || {
		rm -f "$new" 2>/dev/null
		fail_on "change $path" "$why"
	}
}

# Puts $text in place of our lines in a script of the host, else before its last "exit 0", else at its end.
change() {
	[ ! -h "$path" ] || fail "cannot change $path: a link"
	held=$(cat "$path" 2>&1) || fail_on "read $path" "$held"
	held=$newline$held$newline
	case $held in
	*"$newline# stowaway begin"*"$newline# stowaway end$newline"*)
		before=${held%%"$newline# stowaway begin"*}
		after=${held#*"$newline# stowaway begin"}
		after=${after#*"$newline# stowaway end$newline"}
		;;
	*"$newline# stowaway begin"* | *"$newline# stowaway end$newline"*) fail "cannot change $path: the line \"# stowaway begin\" or \"# stowaway end\" is missing; edit the file" ;;
	*"${newline}exit 0$newline"*)
		before=${held%"${newline}exit 0$newline"*}
		after="exit 0$newline${held##*"${newline}exit 0$newline"}"
		;;
	*) before=${held%"$newline"} after= ;;
	esac
	new=$before$newline$text$after
	if [ "$new" = "$held" ]; then
		echo "unchanged $path"
		return
	fi
	echo "change the lines of stowaway in $path"
	[ "$dry" ] && return
	# Its mode and owner stay.
	why=$({ printf %s "${new#"$newline"}" | cat >"$path"; } 2>&1) || fail_on "change $path" "$why"
}

# Takes a step of install.
put() {
	[ $holds != block ] || { change; return; }
	look
	case $found:$holds in
	same:*) echo "unchanged $path" ;;
	missing:link)
		echo "link $path"
		[ "$dry" ] || ln -s "$target" "$path" 2>/dev/null || write
		;;
	*:link) echo "keep $path: another program" ;;
	marked:example | other:example) echo "keep $path" ;;
	other:text) complain "cannot replace $path: install did not make this file; move it away" ;;
	*)
		[ $found:$holds:$force = other:program: ] && fail "cannot replace $path: another program's file; to replace it, add --force"
		case $holds in
		program) echo "copy this program to $path" ;;
		*) echo "write $path" ;;
		esac
		write
		run $installed
		;;
	esac
}

# Takes a step back, if install made what is there.
remove() {
	if [ $holds = block ]; then
		text=
		if has "$path"; then change; else echo "absent $path"; fi
		return
	fi
	look
	case $found in
	missing) echo "absent $path" ;;
	other) echo "keep $path: edited, or of another version" ;;
	*)
		run $removing
		echo "remove $path"
		[ "$dry" ] || why=$(rm -f "$path" 2>&1) || fail_on "change $path" "$why"
		if [ $holds = example ] && [ "$config" != "$dir" ]; then
			echo "remove, if empty, $config"
			[ "$dry" ] || rmdir "$config" 2>/dev/null
		fi
		run $removed
		;;
	esac
}

# The first init that runs, else the first that is installed. ESXi has chkconfig, too; OpenWrt's inittab names rcS.
if [ "$kind" ]; then
	:
elif has /lib/systemd/systemd /run/systemd/system; then
	kind=systemd
elif has /sbin/openrc-run /run/openrc; then
	kind=openrc
elif has /usr/sbin/update-rc.d /run/initctl; then
	kind=sysvinit
elif has /lib/systemd/systemd; then
	kind=systemd
elif has /sbin/openrc-run; then
	kind=openrc
elif has /bin/esxcli; then
	kind=esxi
elif has /usr/sbin/update-rc.d /sbin/init || has /sbin/chkconfig /sbin/init; then
	kind=sysvinit
elif ! has /etc/rc.common && grep -q '^[^#]*rcS' /etc/inittab 2>/dev/null; then
	kind=busybox
else
	fail "none of the known inits is installed: recipes.md (On each kind of host) says what to do for runit and procd; or choose with --for"
fi

config=/etc/stowaway
case $kind in
busybox) steps='exports busybox' start='/etc/init.d/S80stowaway start' ;;
esxi) config=$dir steps='exports script sbin firewall local' start="$dir/stowaway.sh start" ;;
openrc) steps='exports script openrc' start='rc-service stowaway start' ;;
systemd) steps='exports unit' start='systemctl start stowaway' ;;
sysvinit) steps='exports sysvinit' start='/etc/init.d/stowaway start' ;;
esac

if [ $action = install ]; then
	case $kind:$force:$dir in
	esxi::/vmfs/volumes/*) ;;
	esxi::*)
		complain "cannot install into $dir: ESXi keeps only /vmfs/volumes over a restart; choose a directory there, or add --force"
		exit 2
		;;
	esac
	[ -d "$dir/" ] || fail "cannot install into $dir: does not exist, or is not a directory"
fi

# Without a slash, a directory of PATH has the executable.
own=$(command -v "$0") || fail "cannot find $0, the name of this program: start it by its path"
{ program=$(cat "$own" 2>&1); } 2>/dev/null || fail_on 'read the file of this program' "$program"

IFS=' |'
all=program
for name in $names; do
	case $action:$links:$name in
	install::*) ;;
	*:*-* | *:unfsd) all="$all $name" ;;
	esac
done
unset IFS

if [ $action = install ]; then
	for step in $all $steps; do
		define $step
		put
	done
	if [ $kind = esxi ]; then
		echo 'ESXi starts only programs of VIBs while execInstalledOnly is TRUE at Runtime (8.0: by default); to start any program that root
may run: esxcli system settings kernel set -s execinstalledonly -v FALSE, then restart the host'
		run esxcli system settings kernel list -o execinstalledonly
	fi
	echo "next: edit $config/exports, then $start"
else
	reversed=
	for step in $all $steps; do reversed="$step $reversed"; done
	for step in $reversed; do
		define $step
		remove
	done
	echo 'not removed: logs, and keys of handles in /var/lib/stowaway'
fi
[ "$dry" ] || sync
exit $status
