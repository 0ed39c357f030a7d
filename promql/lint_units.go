package promql

import (
	"slices"
	"strings"
)

// grafanaUnits are the ids of units that Grafana knows, by what they measure.
var grafanaUnits = strings.Fields(`
none string short sishort percent percentunit humidity dB candela hex0x hex sci locale pixel pH bool bool_yes_no bool_on_off bool_up_down
bytes decbytes bits decbits kbytes deckbytes mbytes decmbytes gbytes decgbytes tbytes dectbytes pbytes decpbytes
pps binBps Bps binbps bps KiBs KBs Kibits Kbits MiBs MBs Mibits Mbits GiBs GBs Gibits Gbits TiBs TBs Tibits Tbits PiBs PBs Pibits Pbits
ns µs ms s m h d dtdurationms dtdurations dthms dtdhms timeticks clockms clocks hertz rotrpm rothz rotrads rotdegs
cps ops reqps rps wps iops eps mps recps rowsps cpm opm reqpm rpm wpm epm mpm recpm rowspm
dateTimeAsIso dateTimeAsIsoNoDateIfToday dateTimeAsUS dateTimeAsUSNoDateIfToday dateTimeAsLocal dateTimeAsLocalNoDateIfToday dateTimeAsSystem dateTimeFromNow
celsius fahrenheit kelvin watt kwatt megwatt gwatt mwatt Wm2 voltamp kvoltamp voltampreact kvoltampreact watth watthperkg kwatth kwattm amph kamph mamph joule ev
amp kamp mamp volt kvolt mvolt dBm mohm ohm kohm Mohm farad µfarad nfarad pfarad ffarad henry mhenry µhenry lumens
lengthmm lengthin lengthft lengthm lengthkm lengthmi accMS2 accFS2 accG degree radian grad arcmin arcsec areaM2 areaF2 areaMI2 acres hectares
velocityms velocitykmh velocitymph velocityknot litre mlitre m3 Nm3 dm3 gallons massmg massg masslb masskg masst
pressurebar pressurembar pressurekbar pressurehpa pressurekpa pressurehg pressurepsi forceNm forcekNm forceN forcekN
ppm conppb conngm3 conngNm3 conμgm3 conμgNm3 conmgm3 conmgNm3 congm3 congNm3 conmgdL conmmolL
flops mflops gflops tflops pflops eflops zflops yflops Hs KHs MHs GHs THs PHs EHs
flowgpm flowcms flowcfs flowcfm litreh flowlpm flowmlpm lux radbq radci radgy radrad radsv radmsv radusv radrem radexpckg radr radsvh radmsvh radusvh
currencyUSD currencyGBP currencyEUR currencyJPY currencyRUB currencyUAH currencyBRL currencyDKK currencyISK currencyNOK currencySEK currencyCZK currencyCHF
currencyPLN currencyBTC currencymBTC currencyμBTC currencyZAR currencyINR currencyKRW currencyIDR currencyPHP currencyVND currencyTRY currencyMYR currencyXPF currencyBGN currencyPYG currencyUYU currencyILS
`)

// grafanaUnitPrefixes begin units that a panel makes itself: suffix:hits, si:B, time:YYYY.
var grafanaUnitPrefixes = []string{"suffix:", "prefix:", "time:", "si:", "count:", "currency:", "bool:"}

func isGrafanaUnit(unit string) bool {
	return slices.Contains(grafanaUnits, unit) || slices.ContainsFunc(grafanaUnitPrefixes, func(p string) bool { return strings.HasPrefix(unit, p) })
}
