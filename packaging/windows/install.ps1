<#
.SYNOPSIS
Installs, upgrades or removes Bascule.
.DESCRIPTION
Copies the programs of this folder to %ProgramFiles%\Bascule and adds that to the machine's PATH. Done
again, or from the folder of a newer version, it upgrades: services that run Bascule are stopped
meanwhile and started again. Configuration, passwords, history, logs and mail are never touched.
.PARAMETER Firewall
Lets clients reach basculed at port 873 (TCP), by a rule of Windows' firewall for that program.
.PARAMETER Uninstall
Removes services, programs, PATH entry and firewall rule.
#>
[CmdletBinding()]
param([switch] $Firewall, [switch] $Uninstall)

Set-StrictMode -Version 2
$ErrorActionPreference = 'Stop'

$target = Join-Path $env:ProgramFiles 'Bascule'
$programs = 'bascule.exe', 'basculed.exe'
$ruleName = 'Bascule daemon (rsync, port 873)'

$me = New-Object Security.Principal.WindowsPrincipal ([Security.Principal.WindowsIdentity]::GetCurrent())
if (-not $me.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)) {
    throw 'Run this in a PowerShell that was started as administrator.'
}
if (-not [Environment]::Is64BitProcess) {
    throw 'Run this in the 64-bit PowerShell, not in "Windows PowerShell (x86)".'
}

# The services whose program is one of those in $target, whatever their names.
function Get-OwnServices {
    @(Get-CimInstance Win32_Service | Where-Object {
        $path = "$($_.PathName)".Trim().TrimStart('"')
        @($programs | Where-Object {
            $program = Join-Path $target $_
            $path -eq $program -or $path.StartsWith("$program ", 'OrdinalIgnoreCase') -or
                $path.StartsWith("$program`"", 'OrdinalIgnoreCase')
        }).Count -gt 0
    })
}

# Stops what runs of Bascule and waits for its end: the file of a running program cannot be replaced.
function Stop-Own($services) {
    foreach ($service in $services) {
        if ($service.State -ne 'Stopped') {
            Write-Host "stopping the service $($service.Name)"
            Stop-Service -Name $service.Name -Force
        }
        # A service counts as stopped shortly before its process is gone.
        if ($service.ProcessId -ne 0) {
            Wait-Process -Id $service.ProcessId -Timeout 60 -ErrorAction SilentlyContinue
        }
    }
    $running = @(Get-Process | Where-Object {
        $programs -contains "$($_.Name).exe" -and $_.Path -and (Split-Path $_.Path) -eq $target
    })
    if ($running.Count -gt 0) {
        throw "These programs of $target still run: $(@($running | ForEach-Object { "$($_.Name) ($($_.Id))" }) -join ', '). End them first."
    }
}

# The machine's PATH as it is stored: with %SystemRoot% and the like not put in.
function Set-OwnPath([bool] $there) {
    $key = [Microsoft.Win32.Registry]::LocalMachine.OpenSubKey(
        'SYSTEM\CurrentControlSet\Control\Session Manager\Environment', $true)
    $old = [string] $key.GetValue('Path', '', 'DoNotExpandEnvironmentNames')
    $entries = @($old -split ';' | Where-Object { $_ -and $_.TrimEnd('\') -ne $target })
    if ($there) { $entries += $target }
    $new = $entries -join ';'
    if ($new -ne $old) {
        $key.SetValue('Path', $new, 'ExpandString')
        # Tells programs that are running: setting any variable does.
        [Environment]::SetEnvironmentVariable('BASCULE_INSTALLING', '1', 'Machine')
        [Environment]::SetEnvironmentVariable('BASCULE_INSTALLING', $null, 'Machine')
    }
    $key.Close()
}

function Remove-OwnRule {
    Get-NetFirewallRule -DisplayName $ruleName -ErrorAction SilentlyContinue | Remove-NetFirewallRule
}

if ($Uninstall) {
    $services = @(Get-OwnServices)
    Stop-Own $services
    foreach ($service in $services) {
        # The service's own program also takes its entry in the event log away.
        $program = @($programs | Where-Object { "$($service.PathName)" -like "*\$_*" })[0]
        & (Join-Path $target $program) service uninstall "--name=$($service.Name)"
        if ($LASTEXITCODE -ne 0) { throw "The service $($service.Name) could not be removed." }
    }
    Remove-OwnRule
    Set-OwnPath $false
    if (Test-Path -LiteralPath $target) {
        # PowerShell does not remove the folder that it stands in.
        if ("$((Get-Location).ProviderPath)\".StartsWith("$target\", 'OrdinalIgnoreCase')) {
            Set-Location -LiteralPath $env:ProgramFiles
        }
        Remove-Item -LiteralPath $target -Recurse -Force
    }
    Write-Host "Bascule is removed. Kept: $(Join-Path $env:ProgramData 'Bascule') and all mail."
    return
}

foreach ($program in $programs) {
    if (-not (Test-Path -LiteralPath (Join-Path $PSScriptRoot $program))) {
        throw "$program is missing beside this script: unpack the whole zip first."
    }
}
$services = @(Get-OwnServices)
$running = @($services | Where-Object { $_.State -eq 'Running' })
try {
    Stop-Own $services
    if ($PSScriptRoot -ne $target) {
        New-Item -ItemType Directory -Force -Path $target | Out-Null
        Get-ChildItem -LiteralPath $PSScriptRoot | Copy-Item -Destination $target -Recurse -Force
        # Windows marks what was downloaded and asks before it is run.
        Get-ChildItem -LiteralPath $target -Recurse -File | Unblock-File
    }
} finally {
    # Whatever became of the copy: the old programs are better than none. A service that does not
    # start keeps no other from it.
    foreach ($service in $running) {
        Write-Host "starting the service $($service.Name)"
        try { Start-Service -Name $service.Name } catch {
            Write-Warning "The service $($service.Name) did not start: $_"
        }
    }
}
Set-OwnPath $true
if ($Firewall) {
    Remove-OwnRule
    New-NetFirewallRule -DisplayName $ruleName -Direction Inbound -Action Allow -Protocol TCP `
        -LocalPort 873 -Program (Join-Path $target 'basculed.exe') | Out-Null
}
$version = & (Join-Path $target 'bascule.exe') --version
Write-Host "$version is in $target."
Write-Host 'In a new window: "basculed init mail=DIR" on the target, "bascule init" on the source; README.txt.'
