# stowaway begin: lines of stowaway install
@/stowaway install @ --for esxi --force >/dev/null
@/stowaway.sh start
# stowaway end
